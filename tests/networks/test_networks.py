"""Each family of networks from the file through fp32, quantization and int8 back to the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.quantization.quantize import quantize_graph


@dataclass
class Sample:
    name: str
    arrays: dict


def written(graph, folder, name):
    """The graph as it comes back from its files."""
    paths = folder / f"{name}.tnnproto", folder / f"{name}.tnnmodel"
    write_model(graph, *paths)
    return read_model(*paths)


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_load_quantize_save_reload(network, tmp_path):
    fp32 = written(network.graph, tmp_path, "fp32")
    calibration = [Sample(f"s{i:02}", network.sample()) for i in range(12)]
    pictures = [network.sample() for _ in range(4)]
    executor = Executor(fp32)
    wanted = [executor.run(picture) for picture in pictures]
    for name in network.compared:
        values = np.concatenate([result[name].ravel() for result in wanted])
        assert np.isfinite(values).all()
        assert 1e-3 < np.abs(values).max() < 100, "activations are not normalized"

    quantization = quantize_graph(fp32, calibration, QuantizeConfig())
    positions = range(len(quantization.graph.nodes))
    assert {p for p in positions if quantization.graph.nodes[p].quantized} == quantization.plan.int8
    assert all(quantization.plan.reasons[p] for p in positions if p not in quantization.plan.int8)

    int8 = Executor(quantization.graph)
    got = [int8.run(picture) for picture in pictures]
    for name in network.compared:
        for one, other in zip(got, wanted, strict=True):
            assert one[name].shape == other[name].shape
        assert cosine(*(np.concatenate([r[name].ravel() for r in results]) for results in (got, wanted))) >= 0.99

    again = Executor(written(quantization.graph, tmp_path, "int8"))
    for picture, result in zip(pictures, got, strict=True):
        for name, values in again.run(picture).items():
            np.testing.assert_array_equal(values, result[name])


@pytest.mark.parametrize(
    ("blob_method", "merge_type"), [("asymmetric", "channel"), ("kl", "mix"), ("aciq-gauss", "tensor")]
)
def test_other_methods_run(network, blob_method, merge_type):
    device = "naive" if blob_method == "asymmetric" else "any"  # zero points are kept there alone
    config = QuantizeConfig(blob_method=blob_method, merge_type=merge_type, device=device)
    calibration = [Sample(f"s{i:02}", network.sample()) for i in range(4)]
    graph = quantize_graph(network.graph, calibration, config).graph
    results = Executor(graph).run(network.sample())
    for name in network.compared:
        assert np.isfinite(results[name]).all()
