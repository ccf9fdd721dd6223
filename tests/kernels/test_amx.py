"""AMX: asked for once and only where a plan needs it; refused, all runs on without it."""

import os
import subprocess
import sys

import pytest

from tnnquant.errors import ConfigError
from tnnquant.kernels import amx, target

HAS_AMX = "amx" in target.available_paths() and not amx.refused_paths()


@pytest.fixture
def machine(monkeypatch):
    """A function ``machine(errno)``: a CPU with AMX whose system answers a request so; counts the requests."""
    asked = []
    monkeypatch.setattr(amx, "isa", lambda: target.PATHS["amx"])
    monkeypatch.setattr(amx, "available_paths", lambda: ["amx", "avx512vnni", "portable"])

    def make(answer):
        monkeypatch.setattr(amx, "request", lambda: asked.append(1) or answer)
        for function in (amx.tiles, amx._refused):
            function.cache_clear()
        return asked

    yield make
    for function in (amx.tiles, amx._refused):
        function.cache_clear()


def test_a_granted_request_is_asked_once(machine):
    asked = machine(0)
    assert (amx.tiles(), amx.tiles(), amx.path_in_use(), amx.refused_paths()) == ("amx", "amx", "amx", [])
    assert len(asked) == 1


def test_a_refused_request_takes_the_vector_instructions(machine, monkeypatch):
    monkeypatch.delenv("TNNQUANT_ISA", raising=False)
    machine(28)
    assert (amx.tiles(), amx.path_in_use(), amx.refused_paths()) == ("", "avx512vnni", ["amx"])


@pytest.mark.parametrize(("answer", "why"), [(28, r"ENOSPC \(28\).*signal stack"), (22, r"EINVAL \(22\)")])
def test_a_path_asked_for_by_name_is_not_another_one_silently(machine, monkeypatch, answer, why):
    monkeypatch.setenv("TNNQUANT_ISA", "amx")
    machine(answer)
    with pytest.raises(ConfigError, match=rf"TNNQUANT_ISA: .*refused.*{why}"):
        amx.tiles()


def test_a_cpu_without_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(target, "features", lambda: frozenset(("avx512f", "avx512bw", "avx512vnni", "fma", "avx2")))
    monkeypatch.setenv("TNNQUANT_ISA", "amx")
    with pytest.raises(ConfigError, match="amx needs amx-int8, amx-tile, which the target CPU lacks"):
        target.isa.__wrapped__()


def test_other_systems_are_not_asked(monkeypatch):
    monkeypatch.setattr(amx.sys, "platform", "win32")
    assert amx.request() == 38


def test_only_a_feature_string_proves_it():
    if "sse2" not in target.probe("x86-64", ""):
        pytest.skip("an x86 test")
    both = {"amx-tile", "amx-int8"}
    assert not both & target.probe("sapphirerapids", "")
    assert both <= target.probe("sapphirerapids", "+amx-tile,+amx-int8")
    assert "amx-int8" not in target.probe("sapphirerapids", "+amx-tile,-amx-int8")


# --- in processes of their own ---

_CONVOLVE = """
import numpy as np
from tnnquant.kernels.conv_i8 import conv2d_i8
from tnnquant.kernels.geometry import ConvGeometry
from tnnquant.kernels.pack_i8 import ConvQuant, pack_conv_i8
rng = np.random.default_rng(5)
i8 = lambda *shape: rng.integers(-128, 128, shape).astype(np.int8)
geometry, one, zero = ConvGeometry(3, 3, 1, 1, 1, 1), np.ones(1, np.float32), np.zeros(1, np.int8)
quant = ConvQuant(one / 2000, zero, zero, None, one, zero)
packed = pack_conv_i8(i8(40, 24, 3, 3), geometry, quant)
out = conv2d_i8(i8(1, 9, 9, 24), packed, geometry, 0, np.empty((1, 9, 9, 40), np.int8))
import hashlib
from tnnquant.kernels.amx import path_in_use
print(path_in_use(), hashlib.sha256(out.tobytes()).hexdigest())
"""

_SMALL_STACK = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(4096)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 4096)), None) == 0
"""


def _python(code, path):
    environment = {key: value for key, value in os.environ.items() if key != "TNNQUANT_ISA"}
    if path:
        environment["TNNQUANT_ISA"] = path
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(not HAS_AMX, reason="needs AMX")
def test_a_small_signal_stack_costs_speed_and_nothing_else():
    free, stuck = _python(_CONVOLVE, ""), _python(_SMALL_STACK + _CONVOLVE, "")
    assert (free.returncode, stuck.returncode) == (0, 0), stuck.stderr[-500:]
    (path, digest), (other, same) = free.stdout.split(), stuck.stdout.split()
    assert (path, other) == ("amx", "avx512vnni")
    assert digest == same
    forced = _python(_SMALL_STACK + _CONVOLVE, "amx")
    assert forced.returncode == 1
    assert "ENOSPC (28)" in forced.stderr.splitlines()[-1]


_MASK = """
import ctypes
mask = ctypes.c_uint64()
ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(mask))
print(mask.value >> 18 & 1)
"""


@pytest.mark.skipif(not HAS_AMX, reason="needs AMX")
def test_importing_asks_for_nothing():
    """fp32 needs no tiles, so what only runs fp32 keeps the small signal frames."""
    code = "import tnnquant.kernels.conv_i8, tnnquant.kernels.conv_f32, tnnquant.kernels.peak\n"
    assert _python(code + _MASK, "").stdout.split() == ["0"]
    assert _python("from tnnquant.kernels.amx import tiles\nassert tiles()\n" + _MASK, "").stdout.split() == ["1"]
