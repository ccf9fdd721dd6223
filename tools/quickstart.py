"""From a fresh clone to a quantized SqueezeNet v1.1: `python3 tools/quickstart.py`.

Makes .venv/, builds the example folder example/ (model, calibration pictures, named pictures), quantizes the model and
shows what it sees. Needs Python 3.11 or newer and a package index, nothing else; safe to run again.
"""

import shlex
import time

import environment

FOLDER = "example"


def main() -> None:
    """Run the steps, showing each command as one would type it."""
    environment.ensure()
    started = time.perf_counter()
    advice = _type("tnnquant", "example", FOLDER, capture=True)
    # The example says what to type next; that is typed.
    _type(*shlex.split(advice.splitlines()[-1]))
    _type("tnnquant", "example", FOLDER, "--classify")
    environment.say(f"\ndone, {time.perf_counter() - started:.0f} s after installing; everything is in {FOLDER}/")


def _type(*command: str, capture: bool = False) -> str:
    environment.say(f"\n$ {environment.SCRIPTS.relative_to(environment.ROOT).as_posix()}/{shlex.join(command)}")
    return environment.run(*command, capture=capture)


if __name__ == "__main__":
    environment.main(main)
