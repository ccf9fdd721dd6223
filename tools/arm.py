"""An aarch64 Python with this project's dependencies, run by user-mode emulation: `python tools/arm.py [ARGUMENTS]`.

Needs a Debian (or Ubuntu) machine with qemu-aarch64 or qemu-aarch64-static on its PATH (packages qemu-user and
qemu-user-static) and a package index; no root.
Python and its libraries come from Debian's arm64 packages, NumPy, Numba and the rest as wheels. They go into FOLDER,
about 700 MB; what is there is used again. ARGUMENTS go to that Python.

An emulator shows what ARM machines compute, not how fast.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("TNNQUANT_ARM_DIR") or Path.home() / ".cache" / "tnnquant-arm")
#: The same emulator, as two packages name it.
_EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
#: Debian packages: an interpreter, and the libraries that its modules and the wheels load.
_LIBRARIES = (
    "libc6", "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libexpat1", "libffi8", "libssl3", "libbz2-1.0",
    "liblzma5", "libsqlite3-0", "libuuid1", "libcrypt1", "libreadline8", "libncursesw6", "libtinfo6", "libdb5.3",
    "libnsl2", "libtirpc3", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libcom-err2", "libkrb5support0",
    "libkeyutils1",
)  # fmt: skip
#: Of the development dependencies, what the tests import; the others have no wheels for aarch64, or no use there.
_TESTS = ("pytest", "pytest-benchmark", "hypothesis")


#: What an editable installation does: this checkout's modules, wherever the interpreter is started.
_SITE = """
import importlib.util, os, sys

class Kernels:
    def find_spec(self, name, path=None, target=None):
        folder = os.path.join(os.environ["TNNQUANT_ARM_ROOT"], "kernels")
        if name != "tnnquant.kernels":
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])

if "TNNQUANT_ARM_ROOT" in os.environ:
    sys.path.append(os.environ["TNNQUANT_ARM_ROOT"])
    sys.meta_path.append(Kernels())
"""


def main() -> int:
    """Run the emulated Python."""
    return subprocess.run([str(ensure()), *sys.argv[1:]], env={**os.environ, **environment()}, check=False).returncode


def environment() -> dict[str, str]:
    """Variables with which the emulated Python finds this checkout."""
    return {"TNNQUANT_ARM_ROOT": str(ROOT)}


def ensure() -> Path:
    """The command that runs the emulated Python; made if it is not there.

    Raises
    ------
    SystemExit
        This machine cannot make it; says why.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if not any(map(shutil.which, _EMULATORS)):
        missing.append(_EMULATORS[0])
    if missing:
        sys.exit(f"an aarch64 Python needs {', '.join(missing)} (Debian: apt-get install qemu-user)")
    command, done = FOLDER / "python", FOLDER / "ready"
    if not done.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        version = _unpack_debian()
        _write_command(command, version)
        _install_wheels(version)
        done.touch()
    return command


def _apt(*arguments: str) -> str:
    # Lists and packages of its own: neither root nor a change of the machine is needed.
    state = FOLDER / "apt"
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": state, "Dir::State::lists":
        state / "lists", "Dir::State::status": state / "status", "Dir::Cache": state, "APT::Sandbox::User": "",
    }  # fmt: skip
    command = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items()), *arguments]
    result = subprocess.run(command, cwd=state / "archives", capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(arguments)}: {result.stderr.strip()[-500:]}")
    return result.stdout


def _unpack_debian() -> str:
    """Interpreter and libraries into FOLDER/root; gives the version of Python, such as 3.11."""
    _apt("update")
    simulated = _apt("install", "--simulate", "--no-install-recommends", "python3-minimal")
    found = {word for word in simulated.split() if word.startswith("python3.") and word.endswith("-minimal")}
    version = max(found, key=len).removeprefix("python").removesuffix("-minimal")
    python = (f"python{version}", f"python{version}-minimal", f"libpython{version}-minimal",
              f"libpython{version}-stdlib")  # fmt: skip
    _apt("download", *python, *_LIBRARIES)
    for package in sorted((FOLDER / "apt" / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(FOLDER / "root")], check=True)
    return version


def _write_command(command: Path, version: str) -> None:
    # Python finds itself by argv[0], which the emulator hands on: programs that start sys.executable start this file.
    root = FOLDER / "root"
    command.write_text(
        "#!/bin/sh\n"
        f'export QEMU_LD_PREFIX="{root}" PYTHONHOME="{root}/usr" PYTHONNOUSERSITE=1\n'
        f'export PYTHONPATH="{FOLDER}/site${{PYTHONPATH:+:$PYTHONPATH}}" LANG=C.UTF-8\n'
        f"emulator=$(command -v {' || command -v '.join(_EMULATORS)})\n"
        f'exec "$emulator" -cpu "${{TNNQUANT_ARM_CPU:-max}}" -0 "$0" "{root}/usr/bin/python{version}" "$@"\n'
    )
    command.chmod(0o755)


def _install_wheels(version: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [each for each in project["optional-dependencies"]["dev"] if each.split(">")[0] in _TESTS]
    platforms = [f"--platform=manylinux{which}_aarch64" for which in ("2014", "_2_17", "_2_27", "_2_28")]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(FOLDER / "site"), *platforms,
         f"--python-version={version}", "--implementation=cp", "--only-binary=:all:", *project["dependencies"],
         *wanted],
        check=True,
    )  # fmt: skip
    (FOLDER / "site" / "sitecustomize.py").write_text(_SITE)


if __name__ == "__main__":
    sys.exit(main())
