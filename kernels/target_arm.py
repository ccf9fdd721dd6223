"""What an aarch64 target can do, found by compiling plain arithmetic for it and reading the assembly.

LLVM's list of the host's features names neither dotprod nor i8mm on Linux, and is empty on macOS; what the CPU *name*
implies counts, and a feature string may take from it.
"""

from __future__ import annotations

import functools
import re

import llvmlite.binding as llvm
from numba.core.codegen import initialize_llvm

__all__ = ["arm_features", "is_arm"]

# sdot and usdot appear only where they may be used. LLVM makes no smmla of plain arithmetic; like usdot it belongs to
# i8mm.
_IR = """
declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)
define i32 @NAME(ptr %pa, ptr %pb) {
  %a = load <16 x i8>, ptr %pa
  %b = load <16 x i8>, ptr %pb
  %wa = EXTEND <16 x i8> %a to <16 x i32>
  %wb = sext <16 x i8> %b to <16 x i32>
  %m = mul nsw <16 x i32> %wa, %wb
  %r = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %m)
  ret i32 %r }
"""
_EVIDENCE = {"dotprod": ("sext", r"^\s+sdot(?:\.4s)?\s"), "i8mm": ("zext", r"^\s+usdot(?:\.4s)?\s")}


def is_arm(triple: str) -> bool:
    """Whether code for a triple is aarch64's."""
    return triple.startswith(("aarch64", "arm64"))


@functools.cache
def arm_features(triple: str, cpu_name: str, feature_string: str) -> frozenset[str]:
    """Of ``neon``, ``dotprod`` and ``i8mm``, those that code for a named target may use.

    NEON is part of the architecture: every aarch64 has it unless the feature string takes it away.
    """
    if "-neon" in feature_string.split(","):
        return frozenset()
    initialize_llvm()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu_name, features=feature_string, opt=2)
    found = {"neon"}
    for name, (extend, pattern) in _EVIDENCE.items():
        module = llvm.parse_assembly(_IR.replace("NAME", name).replace("EXTEND", extend))
        module.triple = triple
        if re.search(pattern, machine.emit_assembly(module), re.M):
            found.add(name)
    return frozenset(found)
