"""Which instructions are used: the effective target decides, every path gives the same results."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tnnquant.errors import ConfigError
from tnnquant.kernels import target

HERE = Path(__file__).parent


def _python(code, **environment):
    """Runs code in a fresh interpreter; the kernel cache is shared, its folder depends on the path."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )


def test_the_best_available_path_is_chosen_unless_one_is_forced():
    names = target.available_paths()
    assert target.isa().name == os.environ.get("TNNQUANT_ISA", names[0])
    assert "portable" in names


@pytest.mark.parametrize(
    ("cpu", "present", "absent"),
    [
        ("icelake-server", {"fma", "avx2", "avx512f", "avx512bw", "avx512vnni"}, set()),
        ("haswell", {"fma", "avx2"}, {"avx512f", "avx512vnni", "avxvnni"}),
        ("alderlake", {"avx2", "avxvnni"}, {"avx512f", "avx512vnni"}),
        ("x86-64", {"sse2"}, {"avx2", "fma"}),
    ],
)
def test_features_of_a_named_cpu(cpu, present, absent):
    if "sse2" not in target.probe("x86-64", ""):
        pytest.skip("an x86 test")
    found = target.probe(cpu, "")
    assert present <= found
    assert not absent & found


def test_a_feature_string_takes_away():
    if "sse2" not in target.probe("x86-64", ""):
        pytest.skip("an x86 test")
    assert "avx512vnni" not in target.probe("icelake-server", "-avx512f")


def test_the_variables_of_numba_count_not_the_host():
    result = _python(
        "from tnnquant.kernels import target; print(target.isa().name)", NUMBA_CPU_NAME="generic", TNNQUANT_ISA=""
    )
    baseline = "neon" if "neon" in target.features() else "portable"
    assert result.stdout.strip() == baseline, result.stderr


@pytest.mark.parametrize(
    ("name", "message"), [("sse9", "unknown instruction path"), ("avx512vnni", "needs .*avx512vnni")]
)
def test_an_impossible_path_is_a_config_error(monkeypatch, name, message):
    monkeypatch.setattr(target, "features", lambda: frozenset({"sse2", "fma", "avx2"}))
    monkeypatch.setenv("TNNQUANT_ISA", name)
    with pytest.raises(ConfigError, match=message):
        target.isa.__wrapped__()


@pytest.mark.parametrize("path", [name for name in target.PATHS if name != target.isa().name])
def test_every_other_path_gives_the_same_results(path):
    """The small tables of the int8 and fp32 tests, on each path this machine can run; the emulated ones stand in for
    the tiles and layouts of those it cannot."""
    if path not in target.available_paths():
        pytest.skip(f"this machine cannot run {path}")
    files = [str(HERE / "test_conv_i8.py"), str(HERE / "test_conv_f32.py")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "small_table", *files],
        env={**os.environ, "TNNQUANT_ISA": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout[-3000:]


# Emits the tile of a path this machine may not have, as assembly for a CPU that has it.
_INSPECT = """
import sys
import llvmlite.binding as llvm
from llvmlite import ir
from tnnquant.kernels import target
name, triple, cpu, features, has = sys.argv[1:]
target.isa = lambda: target.PATHS[name]
target.features = lambda: frozenset(has.split(","))
from tnnquant.kernels import tile_f32, tile_i8
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
module = ir.Module()
module.triple = triple
word = ir.IntType(64)
for kind, count in (("i8", 18), ("f32", 12)):
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * count), kind)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    path = target.isa()
    if kind == "i8":
        tile_i8.emit_tile(builder, path.rows, 2, path.dot, function.args)
    else:
        tile_f32.emit_tile(builder, path.rows, 2, function.args)
    builder.ret_void()
parsed = llvm.parse_assembly(str(module))
parsed.verify()
machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3)
options = llvm.create_pipeline_tuning_options(speed_level=3)
passes = llvm.create_pass_builder(machine, options)
passes.getModulePassManager().run(parsed, passes)
print(machine.emit_assembly(parsed))
"""
_X86, _ARM, _MAC = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-macosx"


@pytest.mark.parametrize(
    ("path", "triple", "cpu", "features", "has", "dot", "fma"),
    [
        (
            "avx512vnni",
            _X86,
            "icelake-server",
            "",
            "fma,avx2,avx512f,avx512bw,avx512vnni",
            r"vpdpbusd.*zmm",
            r"vfmadd.*zmm",
        ),
        ("avxvnni", _X86, "alderlake", "", "fma,avx2,avxvnni", r"vpdpbusd.*ymm", r"vfmadd.*ymm"),
        ("avx512", _X86, "skylake-avx512", "", "fma,avx2,avx512f,avx512bw", r"vpmaddwd.*zmm", r"vfmadd.*zmm"),
        ("avx2", _X86, "haswell", "", "fma,avx2", r"vpmaddwd.*ymm", r"vfmadd.*ymm"),
        ("dotprod", _ARM, "generic", "+dotprod", "neon,dotprod", r"\bsdot\b", r"\bfmla\b"),
    ],
)
def test_the_dot_product_of_each_path_is_emitted(path, triple, cpu, features, has, dot, fma):
    """What cannot run here is at least compiled for a machine that can, and its inner loop has the instruction."""
    command = [sys.executable, "-c", _INSPECT, path, triple, cpu, features, has]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    int8, fp32 = result.stdout.split("f32:", 1)
    assert len(re.findall(dot, int8)) >= 2 * target.PATHS[path].rows
    assert len(re.findall(fma, fp32)) >= 2 * target.PATHS[path].rows


_LOOP = re.compile(r"^\.?(L\w+):(?:(?!^\.?L\w+:).)*?\s(?:b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+\.?\1$", re.M | re.S)


def _inner_loops(assembly: str) -> list[list[str]]:
    """Loops of one basic block, as lines of instructions."""
    lines = re.sub(r"\s*(//|;).*$", "", assembly, flags=re.M)
    return [[line.strip() for line in match.group().splitlines()[1:]] for match in _LOOP.finditer(lines)]


@pytest.mark.parametrize(
    ("path", "triple", "cpu", "has", "products"),
    [
        ("dotprod", _MAC, "apple-m1", "neon,dotprod", "sdot"),
        ("dotprod", _ARM, "neoverse-n1", "neon,dotprod", "sdot"),
        ("dotprod", _ARM, "neoverse-v1", "neon,dotprod", "sdot"),
        ("i8mm", _ARM, "neoverse-v1", "neon,dotprod,i8mm", "smmla"),
        ("i8mm", _MAC, "apple-m2", "neon,dotprod,i8mm", "smmla"),
        ("neon", _ARM, "cortex-a72", "neon", "smlal"),
    ],
)
def test_hot_loops_on_arm(path, triple, cpu, has, products):
    """The inner loops of the tiles keep their sums in registers and load 16 bytes of a row at a time."""
    command = [sys.executable, "-c", _INSPECT, path, triple, cpu, "", has]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    int8, fp32 = re.split(r"^_?f32:", result.stdout, flags=re.M)
    rows = target.PATHS[path].rows
    # Four groups of 4 bytes, or two of 8, of 8 rows times 8 channels; one k of fp32.
    wanted = {"sdot": 4 * 2 * rows, "smmla": 2 * 2 * rows, "smlal": 2 * 2 * rows}[products]
    for assembly, name, count in ((int8, products, wanted), (fp32, "fmla", 2 * rows)):
        loops = [loop for loop in _inner_loops(assembly) if sum(line.startswith(name) for line in loop) == count]
        assert loops, f"no loop with {count} {name}"
        for loop in loops:
            assert not [line for line in loop if re.search(r"\[sp", line)], "sums on the stack"
            used = sum(line.startswith(name) for line in loop)
            loads = sum(line.startswith("ld") for line in loop)
            if name in ("sdot", "smmla"):
                # A run of steps: 16 bytes of a row at a load, and no instruction that only repeats a group.
                assert loads <= used / 2, loop
                assert not [line for line in loop if line.startswith("dup")], loop


@pytest.mark.parametrize(
    ("triple", "cpu", "string", "found"),
    [
        (_ARM, "generic", "", {"neon"}),
        (_ARM, "cortex-a72", "+neon,+crc", {"neon"}),
        (_ARM, "neoverse-n1", "", {"neon", "dotprod"}),
        (_ARM, "neoverse-v1", "+fp-armv8,+sha2,+lse,+neon,+crc,+sve", {"neon", "dotprod", "i8mm"}),
        (_ARM, "neoverse-v1", "-i8mm", {"neon", "dotprod"}),
        (_ARM, "neoverse-v1", "-dotprod", {"neon"}),
        (_ARM, "neoverse-v1", "-neon", set()),
        (_MAC, "apple-m1", "", {"neon", "dotprod"}),
        (_MAC, "apple-m2", "", {"neon", "dotprod", "i8mm"}),
    ],
)
def test_features_of_a_named_arm_cpu(triple, cpu, string, found):
    import llvmlite.binding as llvm

    from tnnquant.kernels.target_arm import arm_features

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    assert arm_features(triple, cpu, string) == found
