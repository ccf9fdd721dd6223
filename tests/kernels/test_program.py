"""Programs of ops: every task runs once, ops run in order, whatever the number of threads."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import copy_pixels, load_words, words


@kernel
def _count_task(op, index, scratch):
    # args: address of int64 counters
    (counters,) = load_words(op + 8 * program.ARGS, 1)
    words(counters + 8 * index, 1)[0] += 1


@kernel
def _double_task(op, index, scratch):
    # args: addresses of int64 (tasks,) source and target; goes through scratch memory
    source, target = load_words(op + 8 * program.ARGS, 2)
    words(scratch, 1)[0] = 2 * words(source + 8 * index, 1)[0]
    words(target + 8 * index, 1)[0] = words(scratch, 1)[0]


@kernel
def _weights_task(op, index, scratch):
    # args: address of int64 (tasks,), to which what next_weights says goes
    (target,) = load_words(op + 8 * program.ARGS, 1)
    words(target + 8 * index, 1)[0] = program.next_weights(op, index, np.int64(7))


@pytest.fixture(params=[1, None], ids=["one thread", "all threads"])
def threads(request):
    before = numba.get_num_threads()
    numba.set_num_threads(request.param or before)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("tasks", [1, 2, 7, 1000])
def test_every_task_runs_exactly_once(threads, tasks):
    counters = np.zeros(tasks, np.int64)
    op = program.new_op(_count_task, tasks, 0, [program.data_address(counters)])
    for runs in (1, 2, 3):
        program.run(op)
        assert (counters == runs).all()


def test_a_task_knows_the_weights_of_the_op_after_it(threads):
    whole, split = np.zeros(64, np.int8), np.zeros(400, np.int8)
    found = np.zeros((4, 4), np.int64)
    first, second = program.data_address(whole), program.data_address(split)
    made = [program.new_op(_weights_task, 4, 0, [program.data_address(row)]) for row in found]
    for number, (weights, parts) in {1: (whole, 1), 3: (split, 2)}.items():
        args = [program.data_address(found[number])]
        made[number] = program.new_op(_weights_task, 4, 0, args, weights, parts)
    program.Program(made).run()
    assert found.tolist() == [[first] * 4, *[[second, second, second + 200, second + 200]] * 2, [7] * 4]


def test_ops_run_in_order(threads):
    chain = np.zeros((50, 64), np.int64)
    chain[0] = np.arange(64)
    addresses = [program.data_address(row) for row in chain]
    ops = [program.new_op(_double_task, 64, 8, list(pair)) for pair in itertools.pairwise(addresses)]
    plan = program.Program(ops, keep=[chain])
    assert len(plan) == 49
    assert plan.scratch_bytes == 8
    for _ in range(3):
        chain[1:] = 0
        plan.run()
        assert (chain[-1] == np.arange(64) << 49).all()


def test_an_empty_program_does_nothing():
    program.Program([]).run()


def test_aligned_arrays_begin_at_64_bytes():
    for shape in ((1,), (3, 5), (1000,)):
        array = program.aligned_empty(shape, np.float32)
        assert array.shape == shape
        assert program.data_address(array) % 64 == 0
    assert program.data_address(None) == 0


@kernel
def _copy(to, to_step, source, source_step, pixels, count):
    copy_pixels(to, to_step, source, source_step, pixels, count)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 33, 100])
def test_copy_pixels_copies_those_elements_and_no_others(rng, count):
    source = rng.integers(0, 1000, (6, 120)).astype(np.int32)
    target = np.full((6, 110), -1, np.int32)
    _copy(program.data_address(target), 440, program.data_address(source), 480, 6, 4 * count)
    np.testing.assert_array_equal(target[:, :count], source[:, :count])
    assert (target[:, count:] == -1).all()


def test_one_thread_within_the_context_only():
    many = program.thread_count()
    assert many == numba.get_num_threads()
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(program.thread_count).result()
        with program.one_thread():
            assert program.thread_count() == 1
            assert pool.submit(program.thread_count).result() == elsewhere
    assert program.thread_count() == many
