"""The key of a function's machine code: what changes it, and what does not."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tnnquant.kernels import code_key as module
from tnnquant.kernels import conv_amx, conv_i8, stats
from tnnquant.kernels.code_key import code_key, functions_of

needs_compiler = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="there are no dispatchers")

WHOLE = """
import functools
import math
import numpy as np
from collections import namedtuple
from numba.extending import intrinsic
from tnnquant.kernels.jit import inline, kernel

NUMBER = 3
TABLE = np.arange(4)
NESTED = {"a": [1, (2.0, None)], "b": {"x"}}
UNUSED = 1
Pair = namedtuple("Pair", "first second")
PAIR = Pair(1, 2)

class Emitter:
    width = 4

def plain(value):
    return Emitter.width * value

@functools.cache
def cached(value):
    return value + 5

def defaulted(value=6):
    return value

@intrinsic
def emitted(context, x):
    def codegen(*args):
        return plain(args)
    return x(x), codegen

@inline
def helper(x):
    return x + 7

@kernel
def called(x):
    return helper(x) * 8

def naive(x):
    return x + 9

@kernel
def top(x):
    # a comment
    def inner(y):
        return y + 10
    some = called(x) + NUMBER + TABLE[0] + emitted(x)
    return some + inner(cached(x)) + defaulted() + math.pi + NESTED["a"] + PAIR.first
"""


@pytest.fixture
def key(tmp_path, monkeypatch):
    """The key of ``top`` in a text, imported anew."""

    def key(text: str, name: str = "top") -> str:
        for cached in (module.fingerprint, *_caches()):
            cached.cache_clear()
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "keyed_kernels.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("keyed_kernels", None)
        importlib.invalidate_caches()
        made = getattr(importlib.import_module("keyed_kernels"), name)
        found = code_key(getattr(made, "py_func", made))
        del sys.modules["keyed_kernels"]
        return found

    return key


def _caches():
    from tnnquant.kernels import closure

    return closure._source, closure._digest, closure.imported_by, closure.files_of


CHANGES = [
    ("NUMBER = 3", "NUMBER = 4"),
    ("NUMBER = 3", "NUMBER = 3.0"),
    ("np.arange(4)", "np.arange(4) + 1"),
    ("np.arange(4)", "np.arange(4.0)"),
    ("(2.0, None)", "(2.5, None)"),
    ('{"x"}', '{"y"}'),
    ("PAIR = Pair(1, 2)", "PAIR = Pair(1, 3)"),
    ("width = 4", "width = 5"),
    ("value + 5", "value + 6"),
    ("value=6", "value=7"),
    ("x + 7", "x + 8"),
    ("helper(x) * 8", "helper(x) * 9"),
    ("y + 10", "y + 11"),
    ("@inline", "@kernel"),
    ("math.pi", "math.e"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_what_machine_code_depends_on(key, old, new):
    assert WHOLE.count(old) == 1
    assert key(WHOLE) == key(WHOLE)
    assert key(WHOLE) != key(WHOLE.replace(old, new))


# The class is keyed by the text of its file; so a text without it shows what does not matter.
NO_CLASS = WHOLE.replace("Emitter.width", "4").replace(" + PAIR.first", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [("# a comment", "# another"), ("UNUSED = 1", "UNUSED = 2"), ("x + 9", "x - 9"), ("\n@kernel", "\n\n\n@kernel")],
)
def test_what_it_does_not_depend_on(key, old, new):
    assert key(NO_CLASS) == key(NO_CLASS.replace(old, new))
    assert key(NO_CLASS, "naive") == key(NO_CLASS.replace("x + 7", "x + 8"), "naive")


def test_what_imports_when_it_runs_is_keyed_by_its_file(key):
    text = NO_CLASS.replace("    return x + 7", "    import math as m\n    return x + 7")
    assert key(text) != key(text.replace("# a comment", "# another"))


def test_a_function_that_calls_itself(key):
    text = "def top(n):\n    return other(n - 1)\ndef other(n):\n    return top(n) + 1\n"
    assert key(text) != key(text.replace("+ 1", "+ 2"))


def test_an_object_of_another_kind_is_keyed_by_its_file(key):
    text = "class Held:\n    pass\nHELD = Held()\ndef top():\n    return HELD\n"
    assert key(text) == key(text)
    assert key(text) != key(text + "# edited")


@needs_compiler
def test_kernels_that_a_task_stands_on():
    names = {each.__qualname__ for each in functions_of(conv_i8._conv_task.py_func)}
    assert {"_conv_task", "_run_tiles", "_fill_band"} <= names
    assert not names & {"conv2d_i8_naive", "conv2d_i8_op"}
    # Each file names the other, where ops are planned; the machine code of one does not depend on the other's.
    files = {Path(each.__code__.co_filename).stem for each in functions_of(conv_amx._conv_task.py_func)}
    assert "conv_amx" in files
    assert "conv_i8" not in files
    assert "_part" in {each.__qualname__ for each in functions_of(stats._histogram_task.py_func)}


def test_arrays_are_keyed_by_type_and_values():
    def reading(table):
        return lambda: table

    keys = [code_key(reading(table)) for table in (np.zeros(2), np.zeros(2, np.float32), np.zeros((1, 2)), np.ones(2))]
    assert len(set(keys)) == len(keys)
    assert code_key(reading(np.zeros(2))) == keys[0]
