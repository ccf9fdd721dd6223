"""Rounding half away from zero, as TNN does; Python's, NumPy's and Numba's ``round`` go to even.

Adding 0.5 and cutting off is not enough: 0.49999997 + 0.5 is 1 in float32. LLVM's own ``round`` adds the largest number
below 0.5 instead, which is right for every input, and is vectorized.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.jit import inline

__all__ = ["clamp_i8", "round_half_away"]

_LOW, _HIGH = np.float32(-127), np.float32(127)


@intrinsic
def round_half_away(typingctx, x):
    """The nearest integer to a float32 or float64, halves away from zero, as a number of the same type."""
    names = {types.float32: ("f32", ir.FloatType()), types.float64: ("f64", ir.DoubleType())}
    if x not in names:
        return None
    suffix, kind = names[x]

    def codegen(context, builder, sig, args):
        rounded = ir.FunctionType(kind, [kind])
        function = cgutils.get_or_insert_function(builder.module, rounded, f"llvm.round.{suffix}")
        return builder.call(function, args)

    return x(x), codegen


@inline
def clamp_i8(x):
    """A float32 limited to -127..127."""
    x = _HIGH if x > _HIGH else x
    return _LOW if x < _LOW else x
