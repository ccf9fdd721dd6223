"""Check the import contracts of pyproject.toml ([tool.importlinter]) with import-linter."""

import subprocess
import sys
from pathlib import Path

from installed import ROOT, laid_out


def main() -> int:
    """Run the linter on the package as installed; return the exit code of lint-imports."""
    with laid_out() as folder:
        linter = Path(sys.executable).with_name("lint-imports")
        # The working folder comes first on the linter's path, before the installed package.
        command = [linter, "--config", ROOT / "pyproject.toml", "--no-cache", *sys.argv[1:]]
        return subprocess.call(list(map(str, command)), cwd=folder)


if __name__ == "__main__":
    sys.exit(main())
