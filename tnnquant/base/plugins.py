"""Layers, observers, weight methods, recipes and kernels from outside: Python files that register what they define.

A plug-in is a module that uses the decorators of the package (``@layer``, ``@observer``, ``@weight_method``,
``@recipe``, ``@operator``). It is loaded from a file (:func:`load_plugin`, ``--plugin FILE``), or, where it is
installed, through an entry point of the group ``tnnquant.plugins``.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError, InputError, TnnQuantError

__all__ = ["GROUP", "import_file", "is_extended", "load_installed", "load_plugin", "loaded_files"]

#: The group of entry points.
GROUP = "tnnquant.plugins"

_loaded: dict[Path, ModuleType] = {}
_are_installed_loaded = False
_is_extended = False


def load_plugin(path: str | Path) -> ModuleType:
    """Import a Python file that registers layers, observers, weight methods, recipes or kernels; once.

    Raises
    ------
    InputError
        There is no such file, it is no Python, or it fails; file and line are named.
    """
    global _is_extended
    place = Path(path).resolve()
    if place not in _loaded:
        _loaded[place] = import_file(path, "plugin", "plugin")
        _is_extended = True
    return _loaded[place]


def loaded_files() -> list[str]:
    """The files that :func:`load_plugin` has imported, in order: another process needs them too."""
    return [str(path) for path in _loaded]


def load_installed() -> None:
    """Load the plug-ins that installed packages announce, once.

    Raises
    ------
    ConfigError
        One of them fails; it is named.
    """
    global _are_installed_loaded, _is_extended
    if _are_installed_loaded:
        return
    _are_installed_loaded = True
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            raise ConfigError(
                f"the plug-in {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}; "
                "uninstall or mend the package it comes from"
            ) from error
        _is_extended = True


def is_extended() -> bool:
    """Whether a plug-in was loaded: names may be registered that the sources of the package do not hold."""
    return _is_extended


def import_file(path: str | Path, prefix: str, name: str) -> ModuleType:
    """Import a Python file under a name of its own, ``PREFIX_STEM``; it may import files that lie beside it.

    Parameters
    ----------
    path : path
    prefix : str
        No other module is called like this; the stem shows in the names of compiled functions.
    name : str
        Of the parameter that the user gave it by, for messages.

    Raises
    ------
    InputError
        There is no such file, it is no Python, or it fails; file and line are named.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{parameter(name)} {str(path)!r} does not exist")
    full_name = f"{prefix}_{path.stem}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{parameter(name)} {str(path)!r}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    # As of a script, but last: what lies beside the file hides no package.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except TnnQuantError:
        raise
    except SystemExit as error:
        raise InputError(f"{path}{_place(error, path)}: it ends the program (sys.exit) while it is imported") from error
    except Exception as error:
        raise InputError(f"{path}{_place(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _place(error: BaseException, path: Path) -> str:
    """``:line`` of the file where an error arose, if it is known."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f":{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f":{frames[-1].lineno}" if frames else ""
