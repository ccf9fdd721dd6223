"""Make the pictures of the documentation from the example folder: the page of ``inspect`` (PNG), the terminal (SVG).

    python tools/make_pictures.py EXAMPLE [--to docs/images] [--shared ../shared]

EXAMPLE is what ``tnnquant example EXAMPLE`` makes. The page needs Chromium; without one that picture stays as it is.
With the shared folder also the curve of ``--fp32-share`` (``tools/share_curve.py``, minutes).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TNNQUANT = Path(sys.executable).parent / "tnnquant"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: The first picture of the page: what a window of this size shows.
WINDOW = "1280,1000"
COLUMNS = 100


def main() -> int:
    """Quantize the example's model, inspect it, and picture both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("example", type=Path)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--shared", type=Path, help="the folder of real networks: the curve of --fp32-share, too")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "example").symlink_to(options.example.resolve(), target_is_directory=True)
        fed = "-i example/calibration -n 104.006,116.669,122.679 -r 1"
        line = f"tnnquant quantize example/squeezenet_v1.1.onnx {fed} -o net"
        shown = run(line, place)
        terminal(f"$ {line}\n{shown}", options.to / "terminal.svg")
        run(f"tnnquant inspect net_quantized --against example/squeezenet_v1.1.onnx {fed} --html report.html", place)
        page(place / "report.html", options.to / "report.png", place)
    if options.shared:
        tool, target = ROOT / "tools" / "share_curve.py", options.to / "share_curve.svg"
        subprocess.run([sys.executable, tool, options.shared, "--to", target], check=True)
    return 0


def run(line: str, place: Path) -> str:
    """What a command prints, with colours."""
    # On the path, as its user has it: what it prints calls it by its name.
    path = f"{TNNQUANT.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"COLUMNS": str(COLUMNS), "PATH": path}
    done = subprocess.run([TNNQUANT, *line.split()[1:]], cwd=place, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{line}\n{done.stderr}")
    return done.stdout


def terminal(text: str, target: Path) -> None:
    """Text as a terminal shows it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), color_system="truecolor")  # noqa: SIM115
    console.print(Text.from_ansi(text))
    console.save_svg(str(target), title="tnnquant", unique_id="terminal")


def browser() -> str | None:
    """A Chromium, if one is installed."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def page(source: Path, target: Path, place: Path) -> None:
    """The first screen of a page."""
    found = browser()
    if found is None:
        print(f"no browser: {target} is left as it is", file=sys.stderr)
        return
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={place}/profile",
             f"--window-size={WINDOW}", "--blink-settings=preferredColorScheme=1", "--virtual-time-budget=3000",
             f"--screenshot={target}")  # fmt: skip
    subprocess.run([found, *flags, source.as_uri()], check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    sys.exit(main())
