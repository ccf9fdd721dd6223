"""Reading assembly: loops, classes of instructions, calls; on text, and on what Numba emits here."""

import math
from collections import Counter

import numba
import numpy as np
import pytest

from tnnquant.bench.assembly import analyse
from tnnquant.bench.instructions import Kind, classify

X86 = """
_ZN4mine3addB2v1B44c8tE5ArrayIfLi1E1C7mutable7alignedE:
\t.cfi_startproc
\tpushq\t%rbp
\tmovabsq\t$expf, %r14
\tvxorps\t%xmm0, %xmm0, %xmm0
\tjmp\t.LBB0_2
.LBB0_1:
\tincq\t%rdi
\tcmpq\t%rdi, %rsi
\tje\t.LBB0_9
.LBB0_2:
\tvbroadcastss\t(%rdx), %zmm5
.LBB0_3:
\tvmovups\t(%rdx,%rax), %zmm1
\tvfmadd231ps\t(%rcx,%rax), %zmm1, %zmm5
\tvpmaddwd\t%ymm9, %ymm13, %ymm9
\taddq\t$64, %rax
\tcmpq\t%rax, %r8
\tjne\t.LBB0_3
.LBB0_4:
\tvmulss\t%xmm13, %xmm14, %xmm13
\tcallq\t*%r14
\tdecq\t%rax
\tjne\t.LBB0_4
\tjmp\t.LBB0_1
.LBB0_9:
\tmovabsq\t$NRT_decref, %rax
\tcallq\t*%rax
\tretq
\t.size\t_ZN4mine3addE, .Lfunc_end0
_ZN7cpython4mine3addE:
\tvaddps\t%zmm1, %zmm1, %zmm1
\t.size\t_ZN7cpython4mine3addE, .Lfunc_end1
"""
ARM = """
_ZN4mine3addB2v1E:
.LBB0_1:
\tldr\tq0, [x0, x8]
\tfmla\tv1.4s, v0.4s, v2.4s
\tsdot\tv3.4s, v4.16b, v5.16b
\tfmul\ts6, s7, s8
\tsubs\tx8, x8, #16
\tb.ne\t.LBB0_1
\tbl\texpf
\tret
"""


def test_loops_classes_and_calls_of_x86():
    (report,) = analyse(X86)
    assert report.name == "mine.add"
    assert report.bits == 512
    assert (report.calls, report.runtime_calls) == (("expf",), ("NRT_decref",))
    first, second = report.loops
    assert first.kinds == Counter(
        {Kind("load, store", 512): 1, Kind("multiply-add", 512): 1, Kind("dot product", 256): 1}
    )
    assert (first.instructions, first.bits, first.calls) == (6, 512, ())
    assert (second.kinds, second.bits, second.calls) == (Counter({Kind("multiply", 0): 1}), 0, ("expf",))


def test_loops_of_arm():
    (report,) = analyse(ARM)
    (loop,) = report.loops
    assert loop.bits == 128
    assert loop.kinds == Counter(
        {Kind("load, store", 128): 1, Kind("multiply-add", 128): 1, Kind("dot product", 128): 1, Kind("multiply", 0): 1}
    )
    assert report.calls == ("expf",)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("vpdpbusd\t%zmm1, %zmm2, %zmm3", Kind("dot product", 512)),
        ("vpdpwssd\t%ymm1, %ymm2, %ymm3", Kind("dot product", 256)),
        ("pmaddwd\t%xmm1, %xmm2", Kind("dot product", 128)),
        ("vfnmadd213pd\t%ymm1, %ymm2, %ymm3", Kind("multiply-add", 256)),
        ("vpmulld\t%zmm1, %zmm2, %zmm3", Kind("multiply", 512)),
        ("mulps\t%xmm1, %xmm2", Kind("multiply", 128)),
        ("mulsd\t%xmm1, %xmm2", Kind("multiply", 0)),
        ("vpaddd\t%ymm1, %ymm2, %ymm3", Kind("add, subtract", 256)),
        ("vsubss\t%xmm1, %xmm2, %xmm3", Kind("add, subtract", 0)),
        ("vdivps\t(%rax), %zmm2, %zmm3", Kind("divide, root", 512)),
        ("vsqrtsd\t%xmm1, %xmm2, %xmm3", Kind("divide, root", 0)),
        ("vmaxps\t%zmm1, %zmm2, %zmm3", Kind("minimum, compare", 512)),
        ("vcmpleps\t%zmm13, %zmm12, %k1", Kind("minimum, compare", 512)),
        ("vucomiss\t%xmm1, %xmm2", Kind("minimum, compare", 0)),
        ("vblendmps\t(%rcx){1to16}, %zmm3, %zmm14 {%k1}", Kind("select", 512)),
        ("vpmovsxbd\t(%rdi,%rdx), %zmm15", Kind("convert", 512)),
        ("vcvttps2dq\t%zmm13, %zmm13", Kind("convert", 512)),
        ("vcvtsi2ssl\t(%r12,%r11,4), %xmm31, %xmm13", Kind("convert", 0)),
        ("vpmovdb\t%zmm13, (%rsi,%rdx)", Kind("convert", 512)),
        ("vpshufd\t$238, %xmm4, %xmm5", Kind("shuffle", 128)),
        ("vextracti64x4\t$1, %zmm4, %ymm5", Kind("shuffle", 512)),
        ("vpsrad\t$31, %ymm4, %ymm5", Kind("logic, shift", 256)),
        ("vgatherdps\t(%rax,%ymm1,4), %ymm2", Kind("gather, scatter", 256)),
        ("vbroadcastss\t(%rax), %zmm1", Kind("shuffle", 512)),
        ("vmovdqu64\t(%rax), %zmm1", Kind("load, store", 512)),
        ("vmovss\t(%rax), %xmm1", Kind("load, store", 0)),
        ("vxorps\t%xmm0, %xmm0, %xmm0", None),
        ("vxorps\t%xmm0, %xmm1, %xmm0", Kind("logic, shift", 128)),
        ("addq\t$64, %rax", None),
    ],
)
def test_classes_of_x86(line, kind):
    assert classify(*line.split("\t"), is_arm=False) == kind


@numba.njit
def scaled(x, out):
    for i in range(x.size):
        out[i] = x[i] * np.float32(3) + np.float32(1)


@numba.njit
def exponentials(x, out):
    for i in range(x.size):
        out[i] = math.exp(x[i])


def _report(function):
    x = np.ones(8, np.float32)
    function(x, x.copy())
    found = [r for text in function.inspect_asm().values() for r in analyse(text)]
    return next(r for r in found if r.name.endswith(function.py_func.__name__))


def test_a_simple_loop_is_vectorized_and_calls_nothing():
    report = _report(scaled)
    assert report.bits >= 128
    assert report.calls == ()
    assert any(kind.name == "multiply" and kind.bits == report.bits for loop in report.loops for kind in loop.kinds)


def test_a_call_of_the_library_is_seen_in_its_loop():
    report = _report(exponentials)
    assert "expf" in report.calls
    assert any("expf" in loop.calls for loop in report.loops)
