"""Which layers stay fp32."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.quantization.quantize import plan_graph
from tnnquant.recipes.best import islands
from tnnquant.recipes.best.islands import LONE, choose_islands, layer_macs, useful_plan
from tnnquant.recipes.best.slots import scale_slots

LAYERS = 12
EVEN = np.ones((LAYERS - 1, 1))


@pytest.fixture
def chain(build):
    """Twelve like convolutions, one after another, and the blobs between them: each is freed by a sixth of the MACs."""
    net = build(dims=(1, 8, 12, 10))
    blob, blobs = "input", []
    for number in range(LAYERS):
        blob = net.conv(blob, 8, 8, name=f"c{number}")
        blobs.append((blob,))
    executor, plan = plan_graph(net.graph(blob), QuantizeConfig())
    return executor.inference, plan, scale_slots(executor.graph, plan), blobs[:-1]


def chosen(chain, harm, error, is_value=False, share=None):
    inference, plan, slots, sets = chain
    harm, error = np.asarray(harm, float), np.asarray(error, float)
    found = choose_islands(inference, plan, slots, sets, harm, error, np.full(error.shape, is_value), share)
    return {inference.graph.nodes[position].name for position in found}


def test_the_sets_that_disturb_most_are_freed_within_the_budget(chain):
    harm = EVEN.copy()
    harm[4] = 5
    # beside c4 and c5, one more layer frees one more set; a fourth is beyond the budget
    assert chosen(chain, harm, [1.0]) == {"c3", "c4", "c5"}
    macs = layer_macs(chain[0])
    assert 3 * max(macs.values()) <= islands.BUDGET * sum(macs.values()) < 4 * max(macs.values())


def test_sets_that_disturb_less_than_they_cost_are_not_freed(chain):
    assert chosen(chain, EVEN, [1.0]) == set()


def test_values_get_more_fp32(chain):
    harm = EVEN.copy()
    harm[4] = 5
    assert chosen(chain, harm, [1.0], is_value=True) == {f"c{number}" for number in range(7)}
    macs = layer_macs(chain[0])
    assert 7 * max(macs.values()) <= islands.MOST * sum(macs.values())


def test_outputs_that_are_good_get_no_more(chain):
    harm = EVEN.copy()
    harm[4] = 5
    assert chosen(chain, harm, [1e-5], is_value=True) == set()
    harm[4] = 1e6  # of the error, 1e-5 is left without it
    assert chosen(chain, harm, [1.0], is_value=True) == {"c4", "c5"}


def test_the_share_of_fp32_can_be_given(chain):
    harm = EVEN.copy()
    harm[4] = 5
    assert chosen(chain, harm, [1.0], is_value=True, share=0.2) == {"c4", "c5"}
    assert chosen(chain, harm, [1.0], is_value=True, share=0.0) == set()
    assert chosen(chain, harm, [1.0], is_value=True, share=1.0) == {f"c{number}" for number in range(LAYERS)}


def test_the_part_that_is_not_good_decides(chain):
    harm = np.ones((LAYERS - 1, 2))
    harm[1] = 9, 2
    harm[7] = 4, 9
    assert chosen(chain, harm, [1.0, 0.0], share=0.2) == {"c1", "c2"}
    assert chosen(chain, harm, [0.0, 1.0], share=0.2) == {"c7", "c8"}


def test_a_set_whose_layers_are_freed_for_others_counts_with_them(build):
    net = build(dims=(1, 8, 12, 10))
    a = net.conv("input", 8, 8, name="a")
    left, right = (net.conv(a, 8, 8, kernel=1, name=name) for name in ("left", "right"))
    wide = net.conv(net.add("Concat", [left, right], 1, name="cat"), 16, 64, name="wide")
    executor, plan = plan_graph(net.graph(net.conv(wide, 64, 64, name="last")), QuantizeConfig())
    slots, inference = scale_slots(executor.graph, plan), executor.inference
    sets = [("input",), (a,)]
    found = choose_islands(inference, plan, slots, sets, np.array([[0.4], [0.6]]), np.ones(1), np.zeros(1, bool))
    # the blob after a is the dearer one, and with it the input is freed too
    assert {inference.graph.nodes[p].name for p in found} == {"a", "left", "right"}


def test_a_small_branch_between_fp32_layers_is_not_quantized(build):
    net = build()
    body = net.add("Sigmoid", net.conv("input", 3, 32, name="body"))
    pooled = net.pool(body, kind=1, kernel=0, stride=1, name="global")
    squeezed = net.conv(pooled, 32, 2, kernel=1, name="squeeze", activation_type=1)
    gate = net.add("Sigmoid", net.conv(squeezed, 2, 32, kernel=1, name="excite"))
    graph = net.graph(net.conv(net.add("Mul", [body, gate]), 32, 32, name="last"))
    executor, plan = plan_graph(graph, QuantizeConfig())
    names = [node.name for node in executor.graph.nodes]
    assert {names[p] for p in plan.int8} >= {"body", "squeeze", "excite", "last"}
    useful = useful_plan(executor.inference, plan)
    assert {names[p] for p in useful.int8} == {"body", "last"}
    assert useful.reasons[names.index("excite")] == LONE
