"""Statistics and trials in a folder: what was done already is not done again, after an interruption or a change.

A run is known by the hash of all that its results depend on: the model's files, preprocessing, and the contents of the
pictures. Every run has a sub-folder named by that hash; runs that differ do not meet.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tnnquant.base.wording import parameter
from tnnquant.errors import OutputError, TnnQuantError
from tnnquant.format import read_model, write_model
from tnnquant.format.files import write_files
from tnnquant.graph import Graph

__all__ = ["State", "digest_of"]

_STATISTICS, _RESULTS = "statistics", "results.json"
#: Results of another version's figures are of no use.
_VERSION = 3


def digest_of(*parts: object) -> str:
    """Hash of JSON values and bytes, 32 hex digits."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        whole.update(hashlib.blake2b(data, digest_size=16).digest())
    return whole.hexdigest()


class State:
    """What is kept of one run.

    Parameters
    ----------
    folder : path
        Made if need be.
    key : str
        Of :func:`digest_of`: all that statistics and trials depend on.

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike, key: str):
        self.folder = Path(folder) / key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"the folder {str(self.folder)!r} cannot be made: {error.strerror}"
            raise OutputError(f"{parameter('state')}: {what}") from None
        self._results = self._load_results()

    def _load_results(self) -> dict[str, dict]:
        try:
            stored = json.loads((self.folder / _RESULTS).read_text(encoding="utf-8"))
            results = stored["results"].items() if stored["version"] == _VERSION else ()
            return {what: dict(result) for what, result in results}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # none yet, or of no use: done again

    def remember(self, what: str, compute: Callable[[], Mapping]) -> dict:
        """A result as JSON types: the stored one of that name, or the one computed now, which is stored."""
        if what not in self._results:
            self._results[what] = dict(compute())
            text = json.dumps({"version": _VERSION, "results": self._results}, indent=1)
            write_files([(self.folder / _RESULTS, [text.encode()])])
        return self._results[what]

    def recall(self, what: str) -> dict | None:
        """The stored result of that name, or None."""
        return self._results.get(what)

    def save_statistics(self, arrays: Mapping[str, np.ndarray], of: str = _STATISTICS) -> None:
        """Keep arrays by name, ``of`` some pictures."""
        buffer = io.BytesIO()
        # Any, not ndarray: NumPy 2 has an option among the names, and its types are held to it.
        named: dict[str, Any] = {f"a{i}": array for i, array in enumerate(arrays.values())}
        np.savez(buffer, names=np.array(list(arrays)), **named)
        write_files([(self.folder / f"{of}.npz", [buffer.getvalue()])])

    def load_statistics(self, of: str = _STATISTICS) -> dict[str, np.ndarray]:
        """The arrays that were kept; empty if there are none, or they cannot be read."""
        try:
            with np.load(self.folder / f"{of}.npz") as stored:
                return {str(name): stored[f"a{i}"] for i, name in enumerate(stored["names"])}
        except Exception:  # zipfile, zlib and NumPy raise a dozen kinds
            return {}

    def save_model(self, what: str, graph: Graph) -> None:
        """Keep the model of a trial that takes long to make."""
        write_model(graph, *self._paths(what))

    def load_model(self, what: str) -> Graph | None:
        """The model of a trial, or None if it is not there, or damaged."""
        try:
            return read_model(*self._paths(what))
        except TnnQuantError:
            return None

    def _paths(self, what: str) -> tuple[Path, Path]:
        name = digest_of(what)
        return self.folder / f"{name}.tnnproto", self.folder / f"{name}.tnnmodel"
