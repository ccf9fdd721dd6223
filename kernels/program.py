"""Runs a table of operations on all threads: the only ``prange`` of the engine.

An operation is one row of int64 words, an *op*: the address of a compiled task function, the number of its tasks, and
from word :data:`ARGS` on whatever that function reads (addresses of arrays, sizes). A program is a table of ops, run in
order. The tasks of an op are cut into as many equal parts as there are threads. Every thread takes those of its own
part first: the same part of every layer's image, which is then in the caches of its core. It goes on with what is left
of the others', waits until all tasks are done, and turns to the next op: one fork and join per *program*, about 0.1 us
per op. A thread that the system holds up takes fewer tasks. Nothing waits for a thread that has not started, so any
threading layer and any number of threads actually granted is safe.

A task function has the signature ``task(op, index, scratch)``: address of its row, which task, address of memory of its
thread alone. Tasks write disjoint parts of the output and each element is computed by one task in a fixed order, so
results do not depend on which thread runs what.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.jit import Kernel, kernel
from tnnquant.kernels.simd import load_word
from tnnquant.kernels.target_arm import is_arm

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "ARGS",
    "WORDS",
    "Program",
    "address_of",
    "aligned_empty",
    "call_task",
    "data_address",
    "new_op",
    "next_weights",
    "one_thread",
    "run",
    "task_of",
    "thread_count",
]

#: int64 words of an op, and the first that belongs to the task function.
WORDS = 64
ARGS = 8
#: Waits of about 40 ns before a thread offers its core to others. Together they are longer than most tasks: on a busy
#: machine a thread that gives its core away gets it back only after the whole time slice of another.
_SPINS = 5000
#: How often it then offers a turn before it sleeps: a thread that waits busily delays the one that it waits for.
_TURNS = 100
# The head of an op; its last word is free for whoever marks ops (tnnquant/bench/substitute.py).
_FUNCTION, _TASKS, _SCRATCH, _WEIGHTS, _WEIGHT_BYTES, _PARTS, _NEXT = range(7)
# Words from counter to counter: each has a cache line of its own.
_LINE = 8
_TASK_SIGNATURE = types.void(types.int64, types.int64, types.int64)


@intrinsic
def _atomic_add(typingctx, address, value):
    """Adds to the int64 at an address; gives what was there before (acquire and release)."""
    if address != types.int64 or value != types.int64:
        return None

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "acq_rel")

    return types.int64(address, value), codegen


@intrinsic
def _load_acquire(typingctx, address):
    """The int64 at an address, seen with all that its writer did before."""
    if address != types.int64:
        return None

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(address), codegen


@intrinsic
def _relax(typingctx):
    """The spin-wait hint of the CPU, where there is one."""

    def codegen(context, builder, sig, args):
        if builder.module.triple.startswith(("x86_64", "i686", "i386", "amd64")):
            hint = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(hint, [])
        elif is_arm(builder.module.triple):
            # isb: yield does nothing on most cores.
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            barrier = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.isb")
            builder.call(barrier, [ir.Constant(ir.IntType(32), 15)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _give_way(typingctx, patience):
    """Lets other threads have the core: ``patience`` (int32) > 0 for one turn, else for 50 microseconds."""
    if patience != types.int32:
        return None

    def codegen(context, builder, sig, args):
        def call(name, *values):
            kind = ir.FunctionType(ir.IntType(32), [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

        if sys.platform == "win32":
            call("SwitchToThread")
            return context.get_dummy_value()
        with builder.if_else(builder.icmp_signed(">", args[0], ir.Constant(ir.IntType(32), 0))) as (turn, sleep):
            with turn:
                call("sched_yield")
            with sleep:
                call("usleep", ir.Constant(ir.IntType(32), 50))
        return context.get_dummy_value()

    return types.void(patience), codegen


@intrinsic
def call_task(typingctx, function, op, index, scratch):
    """Calls a compiled task function by its address."""

    def codegen(context, builder, sig, args):
        word = ir.IntType(64)
        pointer = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [word] * 3).as_pointer())
        builder.call(pointer, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


@kernel
def next_weights(op, index, otherwise):
    """Address of the first weights that the op after this one needs, as far as can be said from a task's number.

    Ops that say nothing of weights are skipped; ``otherwise`` if no other follows.
    """
    distance = load_word(op + np.int64(8 * _NEXT))
    if distance == 0:
        return otherwise
    other = op + distance
    parts = load_word(other + np.int64(8 * _PARTS))
    part = index * parts // load_word(op + np.int64(8 * _TASKS))
    return load_word(other + np.int64(8 * _WEIGHTS)) + load_word(other + np.int64(8 * _WEIGHT_BYTES)) * part // parts


@kernel
def _take_part(op, counter, first, last, scratch):
    # Runs tasks first..last-1 of an op as far as nobody else has taken them; how many it ran.
    done = np.int64(0)
    if _load_acquire(counter) >= last - first:
        return done
    while True:
        index = first + _atomic_add(counter, np.int64(1))
        if index >= last:
            return done
        call_task(_load_acquire(op + np.int64(8 * _FUNCTION)), op, index, scratch)
        done += 1


@kernel
def _work(table, count, counters, thread, threads, scratch):
    # table: address of int64 (count, WORDS); counters: of int64 (count, threads + 1, _LINE): tasks taken of each part,
    # and tasks done; scratch: address of this thread's memory
    for i in range(count):
        op = table + np.int64(i * WORDS * 8)
        line = counters + i * (threads + 1) * (8 * _LINE)
        finished = line + threads * (8 * _LINE)
        tasks = _load_acquire(op + np.int64(8 * _TASKS))
        done = np.int64(0)
        for turn in range(threads):
            part = (thread + turn) % threads
            first, last = part * tasks // threads, (part + 1) * tasks // threads
            done += _take_part(op, line + part * (8 * _LINE), first, last, scratch)
        if done > 0:
            _atomic_add(finished, done)
        spins = 0
        while _load_acquire(finished) < tasks:
            # On a busy machine the thread waited for may not be running: it needs this core more than we do.
            spins += 1
            if spins < _SPINS:
                _relax()
            else:
                _give_way(np.int32(_SPINS + _TURNS - spins))


@kernel
def _run_serial(table, scratch):
    # table: int64 (count, WORDS), scratch: uint8 (bytes)
    first, memory = np.int64(table.ctypes.data), np.int64(scratch.ctypes.data)
    for i in range(table.shape[0]):
        op = first + np.int64(i * WORDS * 8)
        for index in range(table[i, _TASKS]):
            call_task(table[i, _FUNCTION], op, np.int64(index), memory)


@kernel(parallel=True)
def _run_parallel(table, counters, scratch):
    # table: int64 (count, WORDS); counters: int64 (count, threads + 1, _LINE), zeros; scratch: uint8 (threads, bytes)
    first, line = np.int64(table.ctypes.data), np.int64(counters.ctypes.data)
    count, threads = np.int64(table.shape[0]), np.int64(scratch.shape[0])
    memory = np.int64(scratch.ctypes.data)
    stride = np.int64(scratch.shape[1])
    for thread in prange(threads):
        _work(first, count, line, np.int64(thread), threads, memory + thread * stride)


_alone: ContextVar[bool] = ContextVar("one_thread", default=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the context, programs run on the calling thread alone, and ops are cut for that.

    For programs run side by side on several Python threads: they wait for nothing, and need no threading layer.
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def thread_count() -> int:
    """Threads that programs run on here: those of Numba, or 1 within :func:`one_thread`."""
    return 1 if _alone.get() else numba.get_num_threads()


_addresses: dict[Any, int] = {}


def address_of(task: Kernel) -> int:
    """Address of a task function, compiled (or loaded from the cache) at the first call."""
    address = _addresses.get(task)
    if address is None:
        compiled = task.get_compile_result(_TASK_SIGNATURE)
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)
        _addresses[task] = address
    return address


def task_of(row: np.ndarray) -> tuple[str, str, int]:
    """Module and function of the task of an op, int64 (WORDS,), and the number of its tasks."""
    address = int(row[_FUNCTION])
    function = next((task.py_func for task, known in _addresses.items() if known == address), None)
    if function is None:
        return "", f"function at {address:#x}", int(row[_TASKS])
    return function.__module__, function.__name__, int(row[_TASKS])


def data_address(array: np.ndarray | None) -> int:
    """Address of an array's first element; 0 for None. The caller keeps the array alive."""
    return 0 if array is None else array.__array_interface__["data"][0]


def new_op(
    task: Kernel, tasks: int, scratch_bytes: int, args: list[int], weights: np.ndarray | None = None, parts: int = 1
) -> np.ndarray:
    """One op as int64 (1, WORDS); concatenate several to a program.

    Parameters
    ----------
    task : kernel of signature (op, index, scratch)
    tasks : int
        How many times it is called, with index 0..tasks-1, in any order and on any thread.
    scratch_bytes : int
        Memory a thread needs while it runs a task.
    args : list of int
        What the task reads from word ARGS on.
    weights : array, optional
        What the op before this one may bring nearer (:func:`next_weights`); tasks read one of ``parts`` equal parts
        each.
    """
    op = np.empty((1, WORDS), np.int64)
    size = 0 if weights is None else weights.nbytes
    op[0, : ARGS + len(args)] = (
        address_of(task), tasks, scratch_bytes, data_address(weights), size, parts, 0, 0, *args
    )  # fmt: skip
    return op


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An uninitialised array that begins at a multiple of 64 bytes, so that vectors never straddle cache lines."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + size].view(dtype).reshape(shape)


# Scratch memory and counters are kept between calls: fresh pages from the system cost more than most layers. A call
# takes a buffer off the list of its number of threads and puts it back, so calls from several Python threads never
# share one.
_free_scratch: dict[int, list[np.ndarray]] = {}
_free_counters: dict[int, list[np.ndarray]] = {}
_PAGE = 4096


def _take_scratch(threads: int, size: int) -> np.ndarray:
    try:
        buffer = _free_scratch.setdefault(threads, []).pop()
    except IndexError:
        buffer = None
    if buffer is None or buffer.shape[1] < size:
        buffer = aligned_empty((threads, -(-size // _PAGE) * _PAGE), np.uint8)
    return buffer


def _take_counters(threads: int, count: int) -> np.ndarray:
    try:
        counters = _free_counters.setdefault(threads, []).pop()
    except IndexError:
        counters = None
    if counters is None or len(counters) < count:
        counters = aligned_empty((count, threads + 1, _LINE), np.int64)
    counters[:count] = 0
    return counters


def _run(table: np.ndarray, scratch_bytes: int, most_tasks: int) -> None:
    threads = thread_count() if most_tasks > 1 else 1
    scratch = _take_scratch(threads, scratch_bytes)
    if threads == 1:
        _run_serial(table, scratch[0])
    else:
        counters = _take_counters(threads, len(table))
        _run_parallel(table, counters, scratch)
        _free_counters[threads].append(counters)
    _free_scratch[threads].append(scratch)


def run(program: np.ndarray) -> None:
    """Run ops on :func:`thread_count` threads.

    Parameters
    ----------
    program : int64 (count, WORDS)
        Ops in order; all memory they point to must be alive.
    """
    if program.shape[0] == 1:
        _run(program, program.item(_SCRATCH), program.item(_TASKS))
    else:
        _run(program, int(program[:, _SCRATCH].max()), int(program[:, _TASKS].max()))


class Program:
    """A fixed sequence of ops, and what keeps their memory alive: a plan for a model, run as often as wanted.

    Parameters
    ----------
    ops : list of int64 (1, WORDS)
        In execution order.
    keep : iterable
        Arrays and packed weights that the ops point to.
    """

    def __init__(self, ops: list[np.ndarray], keep: Iterable[object] = ()):
        self.table = np.ascontiguousarray(np.concatenate(ops)) if ops else np.empty((0, WORDS), np.int64)
        self.keep = tuple(keep)
        self._scratch = int(self.table[:, _SCRATCH].max(initial=0))
        self._tasks = int(self.table[:, _TASKS].max(initial=0))
        self._link()

    def _link(self) -> None:
        """Tell each op how far the next one with weights is, in bytes."""
        following = 0
        for i in reversed(range(len(self.table))):
            self.table[i, _NEXT] = 8 * WORDS * (following - i) if following else 0
            following = i if self.table[i, _WEIGHTS] else following

    def __len__(self) -> int:
        return len(self.table)

    def part(self, first: int, last: int) -> Program:
        """The ops first..last-1 as a program of their own, which sees changes of this one's table."""
        made = Program([])
        made.table, made.keep = self.table[first:last], (self,)
        made._scratch = int(made.table[:, _SCRATCH].max(initial=0))
        made._tasks = int(made.table[:, _TASKS].max(initial=0))
        return made

    @property
    def scratch_bytes(self) -> int:
        """Scratch memory that each thread needs."""
        return self._scratch

    def run(self) -> None:
        """Run all ops on :func:`thread_count` threads, with one fork and join."""
        if len(self.table):
            _run(self.table, self._scratch, self._tasks)
