"""Check the types of tnnquant/, kernels/ and tools/ with mypy, by the settings of pyproject.toml ([tool.mypy])."""

import subprocess
import sys

from installed import ROOT, laid_out


def main() -> int:
    """Run mypy on the package as installed, then on the tools; return its exit code."""
    failed = 0
    with laid_out() as folder:
        mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
        result = subprocess.run([*mypy, *cache, *sys.argv[1:], "tnnquant"], cwd=folder, capture_output=True, text=True)
        # Where the files really lie.
        sys.stdout.write(result.stdout.replace("tnnquant/kernels/", "kernels/") + result.stderr)
        failed |= result.returncode
        failed |= subprocess.call([*mypy, *cache, "--follow-imports", "silent", str(ROOT / "tools")], cwd=folder)
    return failed


if __name__ == "__main__":
    sys.exit(main())
