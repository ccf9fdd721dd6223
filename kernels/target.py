"""The machine that Numba compiles for, and the instruction path the kernels take on it.

What counts is the *effective* target: the CPU name and feature string that Numba hands to LLVM, ``NUMBA_CPU_NAME`` and
``NUMBA_CPU_FEATURES`` included. An instruction that this target lacks ends in an LLVM fatal error, which aborts the
process and cannot be caught, so nothing here looks at the host when those variables say otherwise.

``TNNQUANT_ISA`` forces a path (see :data:`PATHS`); asking for one that the target cannot run is a
:class:`~tnnquant.errors.ConfigError`. The same integers come out of every path; fp32 results are the same bits on every
path of a target with fused multiply-add, because each output element has one accumulator and a fixed order.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass

import llvmlite.binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features, initialize_llvm

from tnnquant.errors import ConfigError
from tnnquant.kernels.target_arm import arm_features, is_arm

__all__ = ["PATHS", "InstructionPath", "available_paths", "features", "isa", "llvm", "path_name", "path_of"]

_INTERESTING = (
    "sse2", "ssse3", "avx2", "fma", "avx512f", "avx512bw", "avx512vbmi", "avx512vnni", "avxvnni", "neon", "dotprod",
    "i8mm", "amx-tile", "amx-int8",
)  # fmt: skip


@dataclass(frozen=True)
class InstructionPath:
    """How the inner loops are emitted.

    Attributes
    ----------
    name : str
        The value of ``TNNQUANT_ISA`` that selects this path.
    needs : tuple of str
        Features that the target must have (LLVM's names).
    lanes : int
        float32 or int32 lanes of a vector.
    rows : int
        Output positions of a GEMM tile; a tile is ``rows`` x 2 vectors.
    dot : str
        How int8 products are summed: ``vpdpbusd`` (4 products of unsigned and signed bytes per lane), ``sdot`` (4 of
        signed bytes), ``vpmaddwd`` (2 of int16); ``generic4``, ``generic4s`` and ``generic2`` are these three in plain
        LLVM arithmetic.
    tiles : str
        What multiplies whole tiles of int8 (:mod:`~tnnquant.kernels.tile_amx`): ``amx``, if the system lets it
        (:mod:`~tnnquant.kernels.amx`), ``plain`` for the same in plain LLVM arithmetic; empty for nothing.
    matrix : str
        What matrix products are computed with in place of ``dot``: ``smmla`` (two rows times two columns, 8 products of
        signed bytes each), ``generic8`` (the same in plain LLVM arithmetic), or nothing.
    """

    name: str
    needs: tuple[str, ...]
    lanes: int
    rows: int
    dot: str
    tiles: str = ""
    matrix: str = ""

    @property
    def group(self) -> int:
        """Products that one dot instruction sums per int32 lane."""
        return 2 if self.dot in ("vpmaddwd", "generic2") else 4

    @property
    def shift(self) -> int:
        """What is added to an int8 activation so that the instruction can take it."""
        return 128 if self.dot in ("vpdpbusd", "generic4") else 0


#: Best first. ``emulated-*`` take the tiles and data layouts of a path with plain arithmetic in place of its dot
#: product: the test of that path's logic on a machine that cannot run it. They are never chosen unless asked for.
PATHS = {
    path.name: path
    for path in (
        InstructionPath(
            "amx", ("avx512f", "avx512bw", "avx512vnni", "fma", "amx-tile", "amx-int8"), 16, 14, "vpdpbusd", "amx"
        ),
        InstructionPath("avx512vnni", ("avx512f", "avx512bw", "avx512vnni", "fma"), 16, 14, "vpdpbusd"),
        InstructionPath("avxvnni", ("avx2", "avxvnni", "fma"), 8, 6, "vpdpbusd"),
        InstructionPath("avx512", ("avx512f", "avx512bw", "fma"), 16, 14, "vpmaddwd"),
        InstructionPath("avx2", ("avx2", "fma"), 8, 6, "vpmaddwd"),
        InstructionPath("i8mm", ("neon", "dotprod", "i8mm"), 4, 8, "sdot", matrix="smmla"),
        InstructionPath("dotprod", ("neon", "dotprod"), 4, 8, "sdot"),
        InstructionPath("neon", ("neon",), 4, 8, "generic2"),
        InstructionPath("portable", (), 4, 4, "generic2"),
        InstructionPath("emulated-amx", (), 16, 14, "generic4", "plain"),
        InstructionPath("emulated-avx512vnni", (), 16, 14, "generic4"),
        InstructionPath("emulated-avxvnni", (), 8, 6, "generic4"),
        InstructionPath("emulated-i8mm", (), 4, 8, "generic4s", matrix="generic8"),
        InstructionPath("emulated-dotprod", (), 4, 8, "generic4s"),
    )
}


@functools.cache
def features() -> frozenset[str]:
    """The features, among those the kernels ask about, of the target that Numba compiles for."""
    if config.CPU_NAME is None and config.CPU_FEATURES is None and not is_arm(llvm.get_process_triple()):
        return _parse(get_host_cpu_features())
    name = llvm.get_host_cpu_name() if config.CPU_NAME is None else config.CPU_NAME
    explicit = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return probe(name, explicit)


def _parse(text: str) -> frozenset[str]:
    return frozenset(item[1:] for item in text.split(",") if item.startswith("+") and item[1:] in _INTERESTING)


# One function per feature, in plain IR: whatever LLVM may not use on the target cannot appear in the assembly.
_PROBE_IR = """
declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
declare i32 @llvm.vector.reduce.add.v32i32(<32 x i32>)
define <8 x float> @fma(<8 x float> %a, <8 x float> %b, <8 x float> %c) {
  %r = call <8 x float> @llvm.fma.v8f32(<8 x float> %a, <8 x float> %b, <8 x float> %c)
  ret <8 x float> %r }
define <8 x i32> @avx2(<8 x i32> %a, <8 x i32> %b) {
  %r = add <8 x i32> %a, %b
  ret <8 x i32> %r }
define <16 x i32> @avx512f(<16 x i32> %a, <16 x i32> %b) {
  %r = add <16 x i32> %a, %b
  ret <16 x i32> %r }
define <64 x i8> @avx512bw(<64 x i8> %a, <64 x i8> %b) {
  %r = add <64 x i8> %a, %b
  ret <64 x i8> %r }
"""
_PROBE_DOT_IR = """
define i32 @NAME(ptr %pa, ptr %pb) {
  %a = load <BYTES x i8>, ptr %pa
  %b = load <BYTES x i8>, ptr %pb
  %za = zext <BYTES x i8> %a to <BYTES x i32>
  %sb = sext <BYTES x i8> %b to <BYTES x i32>
  %m = mul nsw <BYTES x i32> %za, %sb
  %r = call i32 @llvm.vector.reduce.add.vBYTESi32(<BYTES x i32> %m)
  ret i32 %r }
"""
_EVIDENCE = {
    "fma": r"vfn?madd\d*ps",
    "avx2": r"vpaddd[^\n]*ymm",
    "avx512f": r"vpaddd[^\n]*zmm",
    "avx512bw": r"vpaddb[^\n]*zmm",
    "avx512vnni": r"vpdpbusd[^\n]*zmm",
    "avxvnni": r"vpdpbusd[^\n]*ymm",
}


def probe(cpu_name: str, feature_string: str) -> frozenset[str]:
    """Features of a named target, found by compiling plain arithmetic for it and reading the assembly.

    LLVM offers no query for what a CPU name implies, and a feature string may both add to and take from it.
    """
    triple = llvm.get_process_triple()
    if not triple.startswith(("x86_64", "i686", "i386", "amd64")):
        return arm_features(triple, cpu_name, feature_string) if is_arm(triple) else _parse(feature_string)
    initialize_llvm()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu_name, features=feature_string, opt=2)
    text = _PROBE_IR
    for name, size in (("avx512vnni", 64), ("avxvnni", 32)):
        text += _PROBE_DOT_IR.replace("NAME", name).replace("BYTES", str(size))
    module = llvm.parse_assembly(text)
    module.triple = triple
    assembly = machine.emit_assembly(module)
    bodies = {name: _function_body(assembly, name) for name in _EVIDENCE}
    found = {name for name, pattern in _EVIDENCE.items() if re.search(pattern, bodies[name])}
    # With AVX512-VNNI and VL the 256-bit form is EVEX-encoded: no proof of AVX-VNNI, which the 512-bit path does not
    # need.
    if "avx512vnni" in found:
        found.discard("avxvnni")
    # No plain arithmetic becomes AMX: what Numba itself tells LLVM has to name it.
    found |= _parse(feature_string) & {"amx-tile", "amx-int8"}
    return frozenset(found | {"sse2"})


def _function_body(assembly: str, name: str) -> str:
    match = re.search(rf"^_?{name}:(.*?)^\s*(?:\.cfi_endproc|\.size)", assembly, re.S | re.M)
    return match.group(1) if match else ""


def available_paths() -> list[str]:
    """Names of the paths that the target can run, best first; the emulated ones last."""
    have = features()
    return [path.name for path in PATHS.values() if set(path.needs) <= have]


@functools.cache
def isa() -> InstructionPath:
    """The path in use: ``TNNQUANT_ISA`` if set, else the best that the target can run.

    Raises
    ------
    ConfigError
        ``TNNQUANT_ISA`` names no path, or one that the target lacks the features for.
    """
    wanted = os.environ.get("TNNQUANT_ISA", "").strip().lower()
    known = available_paths()
    if not wanted:
        return PATHS[known[0]]
    if wanted not in PATHS:
        raise ConfigError(f"TNNQUANT_ISA: unknown instruction path {wanted!r}; this machine can run {', '.join(known)}")
    if wanted not in known:
        missing = ", ".join(sorted(set(PATHS[wanted].needs) - features()))
        raise ConfigError(
            f"TNNQUANT_ISA: {wanted} needs {missing}, which the target CPU lacks; it can run {', '.join(known)}"
        )
    return PATHS[wanted]


def path_of(module: str) -> str:
    """The instruction path that a kernel module is compiled for; empty where it does not depend on one."""
    from pathlib import Path

    from tnnquant.kernels.closure import files_of, imported_by

    here = Path(__file__).resolve()
    file = here.with_name(f"{module.rpartition('.')[2]}.py")
    if here not in files_of(file):
        return ""
    path = isa()
    if path.tiles and not any(each.stem == "tile_amx" for each in imported_by(file)):
        # What does not multiply tiles is as on the path without them.
        return next(other.name for other in PATHS.values() if not other.tiles and other.dot == path.dot)
    return path.name


def path_name() -> str:
    """Name of the path in use; ``TNNQUANT_ISA`` as it is where :func:`isa` refuses it."""
    try:
        return isa().name
    except ConfigError:  # told to the user when a kernel is planned
        return os.environ.get("TNNQUANT_ISA", "")
