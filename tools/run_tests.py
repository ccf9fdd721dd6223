"""Run all tests: `python3 tools/run_tests.py [PYTEST ARGUMENTS]`.

Makes .venv/ on the first run. Needs Python 3.11 or newer and a package index, nothing else.
"""

import sys

import environment


def main() -> None:
    """Prepare the environment, then hand over to pytest."""
    environment.ensure()
    environment.run("python", "-m", "pytest", *sys.argv[1:])


if __name__ == "__main__":
    environment.main(main)
