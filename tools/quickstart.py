"""From a fresh clone to a quantized SqueezeNet v1.1: `python3 tools/quickstart.py`.

Makes .venv/, builds the example folder example/ (model, calibration pictures, named pictures), quantizes the model and
shows what it sees. Needs Python 3.11 or newer and a package index, nothing else; safe to run again.
"""

import time

import environment

FOLDER = "example"
QUANTIZE = (
    f"quantize -p {FOLDER}/squeezenet_v1.1.tnnproto -m {FOLDER}/squeezenet_v1.1.tnnmodel -i {FOLDER}/calibration "
    f"-n 104.006,116.669,122.679 -r 1 -b kl -w admm -o {FOLDER}/squeezenet_v1.1"
)


def main() -> None:
    """Run the steps, showing each command as one would type it."""
    environment.ensure()
    started = time.perf_counter()
    for arguments in (f"example {FOLDER}", QUANTIZE, f"example {FOLDER} --classify"):
        environment.say(f"\n$ .venv/{environment.SCRIPTS.name}/tnnquant {arguments}")
        environment.run("tnnquant", *arguments.split())
    environment.say(f"\ndone in {time.perf_counter() - started:.0f} s after installing; everything is in {FOLDER}/")


if __name__ == "__main__":
    environment.main(main)
