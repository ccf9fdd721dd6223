"""Check the import contracts of pyproject.toml ([tool.importlinter]) with import-linter.

import-linter finds modules by walking the folder of a package, so it would not see tnnquant.kernels, which lies in
kernels/ and is put into the package only by installation (setuptools' package-dir). It is therefore run on a copy laid
out as the package is when installed.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Lay out the package as installed, check it, return the exit code of lint-imports."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        setup = tomllib.load(file)["tool"]["setuptools"]
    with tempfile.TemporaryDirectory(prefix="tnnquant-imports-") as folder:
        for package, source in sorted(setup["package-dir"].items()):
            target = Path(folder, *package.split("."))
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        linter = Path(sys.executable).with_name("lint-imports")
        # The working folder comes first on the linter's path, before the installed package.
        command = [linter, "--config", ROOT / "pyproject.toml", "--no-cache", *sys.argv[1:]]
        return subprocess.call(list(map(str, command)), cwd=folder)


if __name__ == "__main__":
    sys.exit(main())
