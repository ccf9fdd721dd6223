"""Classes of vector instructions, of x86-64 (AT&T syntax, as Numba prints it) and of AArch64."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["ARITHMETIC", "Kind", "classify"]

#: Classes that compute; a loop without one of them on vectors is not vectorized, whatever it moves.
ARITHMETIC = ("dot product", "multiply-add", "multiply", "add, subtract", "divide, root", "minimum, compare")

# First match wins. Without the leading v of AVX.
_X86 = [
    ("dot product", r"pdp(bu|w|bs|wu)\w+|pmadd(wd|ubsw)"),
    ("multiply-add", r"fn?m(add|sub|addsub|subadd)\d*\w+"),
    ("multiply", r"mul[ps][sd]|pmul\w+"),
    ("add, subtract", r"(add|sub|hadd|addsub)[ps][sd]|p(h?add|h?sub|avg|sad)\w+"),
    ("divide, root", r"(div|sqrt|rcp(14)?|rsqrt(14)?)[ps][sd]"),
    ("minimum, compare", r"(min|max)[ps][sd]|p(min|max)[us]\w+|u?comis[sd]|cmp\w*[ps][sd]|pcmp\w+|pabs\w|"
                         r"(round|rndscale)[ps][sd]"),
    ("select", r"p?blend\w+|ptest\w*|movmsk\w+|pmovmsk\w+"),
    ("convert", r"cvt\w+|pmov[sz]x\w+|pmovu?s?(db|dw|wb|qd|qw|qb)|pack[us]\w+"),
    ("shuffle", r"pshuf\w+|perm\w+|p?unpck\w+|p?(insert|extract|insr|extr)\w*|p?broadcast\w+|shuf\w+|p?alignr?\w*|"
                r"mov(s[hl]dup|ddup)|p?expand\w+|p?compress\w+"),
    ("logic, shift", r"(and|andn|or|xor)p[sd]|p(and|andn|or|xor|ternlog|sll|srl|sra|rol|ror)\w*"),
    ("gather, scatter", r"p?(gather|scatter)\w+"),
    ("load, store", r"movn?t?[adu]?(aps|apd|ups|upd|ss|sd|dqa\d*|dqu\d*|d|q|ps|pd|lps|hps|dq)|maskmov\w+|lddqu"),
]  # fmt: skip
_ARM = [
    ("dot product", r"(us|su|s|u)?dot|[su]mmla"),
    ("multiply-add", r"f?n?m(la|ls|add|sub)|[su]ml[as]l2?"),
    ("multiply", r"f?n?mul|[su]mull2?|sqr?dmulh"),
    ("add, subtract", r"f?(add|sub)p?|[su](add|sub)[lw]2?|[su]?addl?v|[su]adalp"),
    ("divide, root", r"fdiv|fsqrt|fr(ecp|sqrt)\w+"),
    ("minimum, compare", r"[fsu](min|max)(nm)?[pv]?|f?cm\w+|fcmpe?|f?abs|frint\w"),
    ("select", r"bsl|bi[ft]|fcsel"),
    ("convert", r"fcvt\w+|[su]cvtf|sq?xtu?n2?|uqxtn2?|xtn2?|[su]xtl2?|[su]shll2?"),
    ("shuffle", r"zip[12]|uzp[12]|trn[12]|tb[lx]|ext|rev\d+|dup|ins|umov|smov"),
    ("logic, shift", r"and|orr|eor|bic|orn|mvn|not|[su]?r?shl|[su]r?shr|shl|sli|sri|movi|mvni"),
    ("load, store", r"ld[1-4]r?|st[1-4]|ld[pur]+|st[pur]+|f?mov|ldnp|stnp"),
]
_X86_PATTERNS = [(name, re.compile(f"(?:{pattern})$")) for name, pattern in _X86]
_ARM_PATTERNS = [(name, re.compile(f"(?:{pattern})$")) for name, pattern in _ARM]
_X86_REGISTER = re.compile(r"%([xyz])mm\d+")
_X86_SCALAR = re.compile(r"(?!p|broadcast)(?:.*(?:[^p]s[sd]|si2s[sd]l?|2si|2usi|comis[sd])|mov[dq]|movs[sd])[lq]?$")
_ARM_VECTOR = re.compile(r"\bv\d+\.(\d+)([bhsd])|\bq(\d+)\b")
_ARM_SCALAR = re.compile(r"\b[sdh]\d+\b")
_BITS = {"x": 128, "y": 256, "z": 512}
_ELEMENT = {"b": 8, "h": 16, "s": 32, "d": 64}


class Kind(NamedTuple):
    """What an instruction does: its class, and the bits of the vector it works on, 0 for a scalar."""

    name: str
    bits: int


def classify(mnemonic: str, operands: str, is_arm: bool) -> Kind | None:
    """The class of an instruction; None for one that touches no vector register."""
    return _classify_arm(mnemonic, operands) if is_arm else _classify_x86(mnemonic, operands)


def _classify_x86(mnemonic: str, operands: str) -> Kind | None:
    registers = _X86_REGISTER.findall(operands)
    if not registers:
        return None
    name = mnemonic[1:] if mnemonic.startswith("v") else mnemonic
    bits = 0 if _X86_SCALAR.match(name) else max(_BITS[letter] for letter in registers)
    found = next((kind for kind, pattern in _X86_PATTERNS if pattern.match(name)), "other")
    # A register cleared by itself is no work.
    if name in ("xorps", "xorpd", "pxor", "pxord", "pxorq") and len(set(re.findall(r"%\w+", operands))) <= 1:
        return None
    return Kind(found, bits)


def _classify_arm(mnemonic: str, operands: str) -> Kind | None:
    vectors = _ARM_VECTOR.findall(operands)
    if not vectors and not _ARM_SCALAR.search(operands):
        return None
    bits = max((int(count) * _ELEMENT[letter] if letter else 128 for count, letter, _ in vectors), default=0)
    return Kind(next((kind for kind, pattern in _ARM_PATTERNS if pattern.match(mnemonic)), "other"), bits)
