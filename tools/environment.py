"""Make or reuse the virtual environment `.venv` of this clone. Only the standard library; Python 3.11 or newer.

Shared by quickstart.py and run_tests.py. Run alone, it makes the environment and stops.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

# Before anything that an older Python cannot import; it is this block's purpose to run there.
if sys.version_info < (3, 11):  # noqa: UP036
    from shutil import which

    newer = [name for name in ("python3.13", "python3.12", "python3.11", "python3.14") if which(name)]
    advice = f"run this with {newer[0]}" if newer else "install a newer one"
    sys.exit(f"error: tnnquant needs Python 3.11 or newer, this is {sys.version.split()[0]}; {advice}")

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "tnnquant-installed"

NO_VENV = (
    "this Python cannot make virtual environments ({reason}); on Debian and Ubuntu install them with "
    "'sudo apt install python3-venv', then run this again"
)


def say(line: str) -> None:
    """Print a line of progress at once, also into a pipe."""
    print(line, flush=True)


def stop(message: str) -> None:
    """End with an error of one line."""
    sys.exit(f"error: {message}")


def ensure() -> None:
    """Make `.venv` with tnnquant (editable) and its development tools in it, unless it is there and up to date."""
    wanted = _fingerprint()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted and _starts():
        return
    # An environment made for another folder or by another Python does not work here; one that merely lacks the latest
    # dependencies is kept and brought up to date.
    if not _starts() or _tied_to_another(wanted):
        say(f"making a virtual environment in {VENV.name}/ with Python {sys.version.split()[0]}")
        _make()
    STAMP.unlink(missing_ok=True)
    say("installing tnnquant, what it needs and its test tools from the package index (about half a minute) ...")
    _pip_install()
    STAMP.write_text(wanted, encoding="utf-8")


def run(*command: object, capture: bool = False) -> str:
    """Run a command of the environment and end with its exit code if it fails.

    ``capture``: show the output when the command is done, and return it.
    """
    words = [str(SCRIPTS / str(command[0])), *map(str, command[1:])]
    pipe = subprocess.PIPE if capture else None
    result = subprocess.run(words, cwd=ROOT, env=_environment(), stdout=pipe, text=True, check=False)
    if capture:
        say(result.stdout.rstrip())
    if result.returncode:
        sys.exit(result.returncode)
    return result.stdout or ""


def main(function: Callable[[], object]) -> None:
    """Call the main function of a script; Ctrl-C ends it without a traceback."""
    try:
        function()
    except KeyboardInterrupt:
        sys.exit(130)


def _fingerprint() -> str:
    # The folder and Python an environment is tied to, then what was to be installed.
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{ROOT}\n{'.'.join(map(str, sys.version_info[:2]))}\n{digest}\n"


def _tied_to_another(wanted: str) -> bool:
    return STAMP.is_file() and STAMP.read_text(encoding="utf-8").splitlines()[:2] != wanted.splitlines()[:2]


def _environment() -> dict:
    # Settings of the calling shell for another Python would leak into the environment's.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _starts() -> bool:
    if not PYTHON.exists():
        return False
    check = subprocess.run([PYTHON, "-c", "import pip"], capture_output=True, check=False, env=_environment())
    return check.returncode == 0


def _make() -> None:
    try:
        import ensurepip  # noqa: F401 - Debian ships venv without it
        import venv
    except ImportError as error:
        stop(NO_VENV.format(reason=f"no module {error.name}"))
    try:
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt").create(VENV)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        stop(NO_VENV.format(reason=" ".join(str(error).split())))


def _pip_install() -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    result = subprocess.run(
        [*command, "--editable", ".[dev]"], cwd=ROOT, env=_environment(), stderr=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        if any(word in result.stderr for word in ("Max retries", "NewConnectionError", "ConnectTimeout")):
            stop("the package index cannot be reached; check the network, or set PIP_INDEX_URL to a mirror")
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        sys.stderr.write("\n".join(lines[-15:]) + "\n")
        stop("pip could not install tnnquant, see above")


if __name__ == "__main__":
    main(ensure)
    say(f"ready: {SCRIPTS / 'tnnquant'}")
