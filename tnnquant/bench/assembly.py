"""What the compiler made of a kernel: its innermost loops, their vector instructions by class, and calls left in.

Works on the text of ``dispatcher.inspect_asm()``. Functions are cut into basic blocks; a loop is the natural loop of a
jump back, an innermost one contains no other. Compiled code has more loops than its source: a loop is unrolled, and
what is left over is done by narrower ones and by a scalar one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tnnquant.bench.instructions import ARITHMETIC, Kind, classify

__all__ = ["FunctionReport", "LoopReport", "analyse"]

_LABEL = re.compile(r"([\w.$@\"<>]+):")
_INSTRUCTION = re.compile(r"\t(?:lock\s+|rep\w*\s+)?([a-z][\w.]*)(?:\s+(.*))?$")
_TARGET = re.compile(r"(\.?L[\w.$]+)\s*$")
_SYMBOL = re.compile(r"movabsq\s+\$\"?([A-Za-z_][\w.$]*)\"?,\s*(%\w+)")
_WRAPPERS = ("_ZN7cpython", "cfunc.", "NRT_", "_ZN08NumbaEnv", "numba_", ".const", "__gufunc__.", "printf_format")
_ENDS = ("jmp", "jmpq", "ret", "retq", "ud2", "b", "br")
#: Calls of memory management, of the parallel scheduler, and of error handling, which are not the kernel's work.
_RUNTIME = re.compile(
    r"_?(NRT_|numba_|Py|_Py|get_num_threads|get_parallel|set_parallel|get_sched|allocate_sched|deallocate_sched|"
    r"do_scheduling|printf)"
)


@dataclass(frozen=True)
class LoopReport:
    """An innermost loop.

    Attributes
    ----------
    instructions : int
        Of all kinds.
    kinds : Counter of Kind
        Vector and floating-point instructions.
    calls : tuple of str
        Functions called in it.
    depth : int
        How many loops it is in, itself included.
    """

    instructions: int
    kinds: Counter[Kind]
    calls: tuple[str, ...]
    depth: int = 1

    @property
    def bits(self) -> int:
        """The widest vector that the loop computes with; 0: it is not vectorized."""
        return max((kind.bits for kind in self.kinds if kind.name in ARITHMETIC), default=0)


@dataclass(frozen=True)
class FunctionReport:
    """A compiled function: its innermost loops in the order of the code, and all calls of it."""

    name: str
    instructions: int
    loops: tuple[LoopReport, ...]
    calls: tuple[str, ...]
    runtime_calls: tuple[str, ...]

    def hottest(self, most: int = 4) -> list[int]:
        """Numbers of the loops that most of the time goes to, as far as the code says: from 0, in the code's order.

        A loop in more loops runs more often; among those in equally many, the ones that compute most instructions on
        vectors, and of scalar ones the longest. (How often each runs depends on the data: nothing is measured.)
        """
        if not self.loops:
            return []
        deepest = max(loop.depth for loop in self.loops)
        rank = sorted(
            (i for i, loop in enumerate(self.loops) if loop.depth == deepest),
            key=lambda i: (-self.loops[i].bits, -sum(self.loops[i].kinds.values()), i),
        )
        chosen = rank[:most]
        scalar = [i for i in rank if not self.loops[i].bits]
        if scalar and not set(scalar) & set(chosen):
            chosen[-1] = scalar[0]  # where vectors do not fit, this one does all the work
        return sorted(chosen)

    @property
    def bits(self) -> int:
        """The widest vector that an innermost loop computes with."""
        return max((loop.bits for loop in self.loops), default=0)

    def as_dict(self) -> dict:
        """JSON types."""
        loops = [
            {
                "instructions": loop.instructions,
                "depth": loop.depth,
                "vector_bits": loop.bits,
                "kinds": [{"class": k.name, "bits": k.bits, "count": n} for k, n in sorted(loop.kinds.items())],
                "calls": list(loop.calls),
            }
            for loop in self.loops
        ]
        return {"name": self.name, "instructions": self.instructions, "loops": loops, "calls": list(self.calls),
                "runtime_calls": list(self.runtime_calls)}  # fmt: skip


@dataclass
class _Block:
    label: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    falls: bool = True


def analyse(text: str) -> list[FunctionReport]:
    """Report on every function of an assembly listing but Numba's wrappers; those that compute in loops first."""
    is_arm = "%r" not in text and bool(re.search(r"\b[vx]\d+\b", text))
    reports = [_report(name, body, is_arm) for name, body in _functions(text)]
    return sorted((r for r in reports if r.instructions), key=lambda r: not r.loops)


def _functions(text: str) -> Iterator[tuple[str, list[str]]]:
    name: str | None = None
    body: list[str] = []
    for line in text.splitlines():
        match = _LABEL.match(line)
        if match and not match[1].startswith((".L", "L", ".", '".')):
            if name:
                yield name, body
            name, body = (None, []) if match[1].startswith(_WRAPPERS) else (match[1], [])
        elif re.match(r"\s+\.size\s", line) or line.startswith(".Lfunc_end"):
            if name:
                yield name, body
            name, body = None, []
        elif name:
            body.append(line)
    if name:
        yield name, body


def _blocks(body: list[str]) -> list[_Block]:
    blocks = [_Block("")]
    for line in body:
        line = re.sub(r"\s*(##|#|//|;).*$", "", line)
        label = _LABEL.match(line)
        if label:
            blocks.append(_Block(label[1]))
            continue
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        mnemonic, operands = match[1], match[2] or ""
        blocks[-1].lines.append((mnemonic, operands))
        target = _TARGET.search(operands)
        if mnemonic[0] in "jbct" and target and not mnemonic.startswith(("call", "bl", "cmp", "test")):
            blocks[-1].targets.append(target[1])
            blocks[-1].falls = mnemonic not in _ENDS
            blocks.append(_Block(""))
        elif mnemonic in _ENDS:
            blocks[-1].falls = False
            blocks.append(_Block(""))
    return blocks


def _loops(blocks: list[_Block]) -> list[tuple[set[int], int]]:
    """The innermost natural loops as sets of blocks with how many loops each is in, in the order of the code."""
    places = {block.label: i for i, block in enumerate(blocks) if block.label}
    following = [
        [places[t] for t in block.targets if t in places] + ([i + 1] if block.falls and i + 1 < len(blocks) else [])
        for i, block in enumerate(blocks)
    ]
    leading: list[list[int]] = [[] for _ in blocks]
    for i, targets in enumerate(following):
        for target in targets:
            leading[target].append(i)
    loops: dict[int, set[int]] = {}
    for end, header in _back_edges(following):
        members, waiting = loops.setdefault(header, {header}), [end]
        while waiting:
            block = waiting.pop()
            if block not in members:
                members.add(block)
                waiting += leading[block]
    found = sorted(loops.values(), key=min)
    innermost = [loop for loop in found if not any(other < loop for other in found)]
    return [(loop, sum(loop <= other for other in found)) for loop in innermost]


def _back_edges(following: list[list[int]]) -> Iterator[tuple[int, int]]:
    """Edges to a block that is still being visited, by a depth-first walk from the entry."""
    state, stack = {0: 1}, [(0, iter(following[0]))]
    while stack:
        block, targets = stack[-1]
        target = next(targets, None)
        if target is None:
            state[block] = 2
            stack.pop()
        elif state.get(target) == 1:
            yield block, target
        elif target not in state:
            state[target] = 1
            stack.append((target, iter(following[target])))


def _report(name: str, body: list[str], is_arm: bool) -> FunctionReport:
    blocks = _blocks(body)
    symbols = {register: symbol for symbol, register in _SYMBOL.findall("\n".join(body))}
    called = [_calls(block, symbols) for block in blocks]
    loops = []
    for members, depth in _loops(blocks):
        lines = [line for i in sorted(members) for line in blocks[i].lines]
        kinds = Counter(kind for line in lines if (kind := classify(*line, is_arm)))
        loops.append(LoopReport(len(lines), kinds, tuple(c for i in sorted(members) for c in called[i]), depth))
    calls = [call for block in called for call in block]
    runtime = [call for call in calls if _RUNTIME.match(call)]
    return FunctionReport(
        _demangled(name), sum(len(block.lines) for block in blocks), tuple(loops),
        tuple(dict.fromkeys(call for call in calls if call not in runtime)), tuple(dict.fromkeys(runtime)),
    )  # fmt: skip


def _calls(block: _Block, symbols: dict[str, str]) -> list[str]:
    # Numba calls through registers that an earlier `movabsq $symbol` has filled; the last one of the block counts.
    known, found = dict(symbols), []
    for mnemonic, operands in block.lines:
        moved = _SYMBOL.match(f"{mnemonic} {operands}")
        if moved:
            known[moved[2]] = moved[1]
        elif mnemonic in ("call", "callq", "bl", "blr"):
            register = operands.lstrip("*").strip()
            name = known.get(register, register)
            found.append(_demangled(name) if not name.startswith("%") else "through a pointer")
    return found


def _demangled(symbol: str) -> str:
    """``module.function`` of Numba's mangled name; any other symbol as it is."""
    symbol = symbol.removeprefix("__gufunc__.").removeprefix("cfunc.")
    match = re.match(r"_?_ZN", symbol)
    if not match:
        return symbol.removesuffix("@PLT")
    parts, at = [], match.end()
    while length := re.match(r"\d+", symbol[at:]):
        at += length.end()
        parts.append(symbol[at : at + int(length[0])])
        at += int(length[0])
    name = ".".join(re.sub(r"_(2[0-9a-f]|3[a-f]|5[bd])", lambda m: chr(int(m[1], 16)), part) for part in parts if part)
    return re.sub(r"<dynamic>\.__numba_parfor_gufunc_0x\w+", "parallel loop", name).replace(".<locals>", "")
