"""The bare loops: they do the multiply-adds they are counted for."""

import numpy as np
import pytest

from tnnquant.kernels.peak import LOOPS, MACS, block_macs, block_runner, copy_loop, loop_buffers, loops
from tnnquant.kernels.target import isa


@pytest.mark.parametrize("kind", [kind for kind in loops() if kind != "tdpbssd"])
def test_every_lane_of_every_sum_counts_the_steps(kind):
    source, target = loop_buffers()
    if kind == "fma":
        source.view(np.float32)[:] = 1
        LOOPS[kind](source, target, 1000)
        sums = target.view(np.float32)
    else:
        # One byte, or int16, of the group is 1, the others are 0: a product a step, and two of 8 bytes.
        LOOPS[kind](source, target, 1000)
        sums = target
    rows = isa().rows - (kind != "fma")
    is_matrix = kind == isa().matrix
    assert (sums[: 2 * rows * isa().lanes] == (2000 if is_matrix else 1000)).all()
    products = 1 if kind == "fma" else 2 if kind in ("vpmaddwd", "generic2") else 8 if is_matrix else 4
    assert MACS[kind] == 2 * rows * isa().lanes * products


def test_every_sum_of_tiles_counts_the_steps():
    if "tdpbssd" not in loops():
        pytest.skip("needs AMX")
    source, target = loop_buffers()
    LOOPS["tdpbssd"](source, target, 1000)
    assert (target == 16 * 1000).all(), "a product a group of four bytes"
    assert MACS["tdpbssd"] == 4 * 16 * 16 * 64


@pytest.mark.parametrize("near", [True, False])
def test_blocks_of_tiles_sum_all_their_products(near):
    if "tdpbssd" not in loops():
        pytest.skip("needs AMX")
    run, sums = block_runner(near)
    run(2)
    assert (sums == 512).all()
    assert block_macs(near) == sums.size * 512 * (1 if near else 32)


def test_the_copy_copies():
    source, target = np.arange(256, dtype=np.uint8), np.zeros(256, np.uint8)
    copy_loop(source, target, 3)
    np.testing.assert_array_equal(target, source)
