"""A user's kernels: found by name, checked, timed, refused with the reason."""

import re

import pytest

from tnnquant.bench.custom import load_kernels, measure_custom
from tnnquant.errors import ConfigError, InputError, TnnQuantError

HEAD = "import numpy as np\nfrom numba import njit\n\n"
DEQUANTIZE = HEAD + """@njit
def dequantize_i8(x, scale, zero, out):
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[p, c] = scale[c] * np.float32(np.int32(x[p, c]) - np.int32(zero[c]))
"""


def _file(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def _measure(tmp_path, text):
    (entry,) = load_kernels(_file(tmp_path, text))
    return entry, list(measure_custom(entry))


def test_a_right_kernel_is_timed_beside_the_built_in_one(tmp_path):
    entry, outcomes = _measure(tmp_path, DEQUANTIZE)
    assert [o.case for o in outcomes] == list(entry.operator.cases)
    assert all(o.difference == "" and o.seconds > 0 and o.builtin_seconds > 0 for o in outcomes)
    (report,) = entry.reports()
    assert report.name == "user_mine.dequantize_i8"
    assert report.bits >= 128


def test_a_wrong_kernel_is_found_with_the_first_difference(tmp_path):
    _, outcomes = _measure(tmp_path, DEQUANTIZE.replace("- np.int32(zero[c])", "+ np.int32(zero[c])"))
    assert all("values differ" in o.difference for o in outcomes)
    assert all(o.as_dict()["seconds"] is None for o in outcomes)


def test_a_kernel_that_writes_its_input_is_found(tmp_path):
    _, outcomes = _measure(tmp_path, DEQUANTIZE + "    x[0, 0] = 3\n")
    assert {o.difference for o in outcomes} == {"changed argument 0, an input"}


def test_a_kernel_that_does_not_compile_says_why(tmp_path):
    _, outcomes = _measure(tmp_path, HEAD + "@njit\ndef dequantize_i8(x, scale, zero, out):\n    out[0] = 'a' + x\n")
    assert "TypingError" in outcomes[0].difference
    assert 'mine.py", line 6' in outcomes[0].difference
    assert "\n" not in outcomes[0].difference


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    return x.astype(np.float32)", r"returns an array float32 \(35, 17\) and leaves out as it was; wri.*"),
        ("    out = x.astype(np.float32)", r"leaves out as it was; write the results into it: out\[...\] = ..., for"),
        ("    return 3", "returns 3 and leaves out as it was"),
    ],
)
def test_a_kernel_that_does_not_write_its_results_is_named(body, message, tmp_path):
    _, outcomes = _measure(tmp_path, f"{HEAD}@njit\ndef dequantize_i8(x, scale, zero, out):\n{body}\n")
    assert re.match(message, outcomes[0].difference)


def test_a_kernel_that_does_not_return_its_result_is_named(tmp_path):
    head = "@njit\ndef greedy_nms(boxes, order, threshold, eta, is_lenient, most, table, kept):\n"
    text = HEAD + head + "    kept[0] = 1\n"
    _, outcomes = _measure(tmp_path, text)
    assert re.match(r"returned nothing, expected \d+", outcomes[0].difference)


def test_helpers_beside_the_kernel_are_left_alone(tmp_path):
    text = DEQUANTIZE + "\n\n@njit\ndef helper(x):\n    return x\n\n\ndef other():\n    pass\n"
    assert [entry.operator.name for entry in load_kernels(_file(tmp_path, text))] == ["dequantize_i8"]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (None, InputError, "mine.py' does not exist"),
        ("def f(:\n", InputError, "mine.py:1: SyntaxError"),
        ("import numpy\n\nraise ValueError('no')\n", InputError, "mine.py:3: ValueError: no"),
        ("x = 1\n", ConfigError, r"no function is called like an operator \(functions found: none\)"),
        (DEQUANTIZE.replace("def dequantize_i8", "def dequantise_i8"), ConfigError, r"did you mean dequantize_i8\?"),
        (DEQUANTIZE.replace("@njit", ""), ConfigError, "dequantize_i8 is a plain Python function, .*write @njit"),
        ("dequantize_i8 = 3\n", ConfigError, "dequantize_i8 is an int, expected a function of this file with @njit"),
        ("from numba import vectorize\n\n@vectorize\ndef dequantize_i8(x, s, z, o):\n    return x\n", ConfigError,
         "dequantize_i8 is a DUFunc, expected a function of this file"),
        ("from tnnquant.kernels.eltwise_i8 import dequantize_i8_naive as dequantize_i8\n", ConfigError,
         "dequantize_i8 is imported from tnnquant.kernels.eltwise_i8, expected a function of this file"),
        ("import sys\nsys.exit(3)\n", InputError, r"mine.py:2: it ends the program \(sys.exit\)"),
        (DEQUANTIZE.replace("scale, zero,", "scale,"), ConfigError,
         r"mine.py:4: .*takes 3 arguments, expected 4: dequantize_i8\(x, scale, zero, out\)"),
    ],
)  # fmt: skip
def test_what_is_no_kernel_is_refused_with_the_reason(tmp_path, text, kind, message):
    path = _file(tmp_path, text) if text is not None else tmp_path / "mine.py"
    with pytest.raises(kind, match=message) as error:
        load_kernels(path)
    assert isinstance(error.value, TnnQuantError)
    assert "\n" not in str(error.value)
