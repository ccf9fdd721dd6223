"""Build the documentation as a site, strictly: `python tools/build_docs.py [FOLDER]`. Needs the extra `docs`."""

import os
import subprocess
import sys

from installed import ROOT

# The theme announces its successor at every build.
SETTINGS = {"NO_MKDOCS_2_WARNING": "1"}


def main() -> int:
    """Build into FOLDER (default: site/); return the exit code of mkdocs."""
    target = ["--site-dir", os.path.abspath(sys.argv[1])] if len(sys.argv) > 1 else []
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", *target]
    return subprocess.call(command, cwd=ROOT, env=os.environ | SETTINGS)


if __name__ == "__main__":
    sys.exit(main())
