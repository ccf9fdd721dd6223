"""Warm-up: the network it uses runs, and every method is used."""

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.health import warmup
from tnnquant.health.specimen import everyday_network
from tnnquant.observers import method_codes
from tnnquant.quantization.quantize import quantize_graph
from tnnquant.weights import method_codes as weight_method_codes


def test_the_everyday_network_can_be_quantized_and_run():
    graph = everyday_network()
    sample = warmup._noise(graph, 0)
    quantized = quantize_graph(graph, [sample], QuantizeConfig()).graph
    assert sum(node.quantized for node in quantized.nodes) >= 9
    wanted, got = (Executor(g).run(sample.arrays) for g in (graph, quantized))
    for name, value in wanted.items():
        assert np.corrcoef(value.ravel(), got[name].ravel())[0, 1] > 0.9


def test_every_method_is_used_once():
    blobs, weights = zip(*warmup._pairs(), strict=True)
    assert set(blobs) == set(method_codes().values())
    assert set(weights) == set(weight_method_codes().values())


def test_pictures_and_texts_can_be_read():
    warmup._warm_inputs()


def test_entries_of_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.nbc").write_text("")
    (tmp_path / "y.nbi").write_text("")
    assert warmup._entries(tmp_path) == {tmp_path / "a" / "x.nbc"}
    assert warmup._entries(None) == set()


def test_every_step_is_told_of_with_their_number(monkeypatch):
    told, done = [], []
    steps = [("pictures", lambda: done.append(1)), ("quantizing", lambda: done.append(2))]
    monkeypatch.setattr(warmup, "_steps", lambda graph: iter(steps))
    warmup.warm_up(None, lambda *stage: told.append((*stage, len(done))))
    assert told == [("pictures", 0, 2, 0), ("quantizing", 1, 2, 1)]
    monkeypatch.undo()
    names = [name for name, _ in warmup._steps(everyday_network())]
    assert names[0] == "pictures"
    assert names[-1] == "the model's own layers"
    assert len(names) == len(warmup._pairs()) + 4
