"""Elementary functions that LLVM can vectorize: no branches, no calls, no memory.

Numba's own ``math.exp`` is a call of the C library for every element. Nothing here uses fused multiply-add, so the
bits are the same on every machine.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.jit import inline

__all__ = ["bits_float", "erf_f32", "exp_f32", "float_bits", "float_word"]

_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # ln 2 in two parts, the first with 9 bits
# Adding 1.5 * 2**23 leaves the nearest integer in the low bits of the significand.
_ROUND, _ROUND_BITS = np.float32(12582912.0), np.int32(0x4B400000)
# exp(r) = 1 + r + r**2 * P(r) on |r| <= ln(2)/2: Cephes, expf.c
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_LOWEST, _HIGHEST = np.float32(-104.0), np.float32(89.0)  # beyond: 0 and inf
_ERF_SPLIT = np.float32(0.921875)
_E0, _E1, _E2 = np.float32(-1.72853470e-5), np.float32(3.83197126e-4), np.float32(-3.88396438e-3)
_E3, _E4, _E5 = np.float32(2.42546219e-2), np.float32(-1.06777877e-1), np.float32(-6.34846687e-1)
_E6 = np.float32(-1.28717512e-1)
_S0, _S1, _S2 = np.float32(-5.96761703e-4), np.float32(4.99119423e-3), np.float32(-2.67681349e-2)
_S3, _S4, _S5 = np.float32(1.12819925e-1), np.float32(-3.76125336e-1), np.float32(1.28379166e-1)
_ONE = np.float32(1)
_BIAS, _SIGNIFICAND, _HALF = np.int32(127), np.int32(23), np.int32(1)


@intrinsic
def float_bits(typingctx, value):
    """The bits of a float32 as int32."""
    if value != types.float32:
        return None

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(value), codegen


@intrinsic
def bits_float(typingctx, bits):
    """The float32 of the bits in an int32."""
    if bits != types.int32:
        return None

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(bits), codegen


@inline
def _power_of_two(exponent):
    return bits_float(np.int32((exponent + _BIAS) << _SIGNIFICAND))


@inline
def exp_f32(x):
    """e**x of a float32, within 1 ulp; subnormal results, 0, inf and NaN as the C library has them."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    rounded = x * _LOG2E + _ROUND
    n = rounded - _ROUND
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = _P0
    p = p * r + _P1
    p = p * r + _P2
    p = p * r + _P3
    p = p * r + _P4
    p = p * r + _P5
    y = p * (r * r) + r + _ONE
    # 2**n in two factors: n itself may lie outside the exponents of a normal float32.
    k = np.int32(float_bits(rounded) - _ROUND_BITS)
    half = np.int32(k >> _HALF)
    return y * _power_of_two(half) * _power_of_two(np.int32(k - half))


@inline
def erf_f32(x):
    """The error function of a float32, within 2 ulp: a polynomial, or for large values ``1 - exp`` of one.

    The coefficients are N. Juffa's (2016), for |x| from 0.921875 on and below.
    """
    t = np.float32(abs(x))
    s = x * x
    r = _E0 * t + _E1
    r = r * s + (_E2 * t + _E3)
    r = r * t + _E4
    r = r * t + _E5
    r = r * t + _E6
    large = _ONE - exp_f32(r * t - t)
    large = -large if x < np.float32(0) else large
    p = _S0
    p = p * s + _S1
    p = p * s + _S2
    p = p * s + _S3
    p = p * s + _S4
    p = p * s + _S5
    small = p * x + x
    return large if t > _ERF_SPLIT else small


def float_word(value: float) -> int:
    """The bits of ``value`` as float32, for a word of an op."""
    return int(np.float32(value).view(np.int32))
