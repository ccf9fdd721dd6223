"""A small classifier on disk, with tensors to calibrate on."""

import numpy as np
import pytest

from tnnquant.format import write_model


@pytest.fixture
def files(build, tmp_path, rng):
    """(proto, model, folder) of a network whose layer "wild" suffers from one scale per layer."""
    net = build((1, 3, 16, 12))
    a = net.add("ReLU", net.conv("input", 3, 8, name="first"))
    b = net.conv(a, 8, 8, kernel=1, name="wild", activation_type=1)
    c = net.pool(net.conv(b, 8, 8, groups=8, name="second"))
    out = net.inner_product(c, 8 * 8 * 6, 5, name="fc")
    for node in net.nodes:
        if node.name == "wild":
            filters = node.resource.tensors["filter"].data.reshape(8, -1)
            filters[:4] *= 300
        if node.name == "second":
            node.resource.tensors["filter"].data.reshape(8, -1)[:4] /= 300
    graph = net.graph(net.add("Softmax", out, 1))
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(graph, *paths)
    folder = tmp_path / "inputs"
    folder.mkdir()
    for i in range(20):
        x = rng.standard_normal((1, 3, 16, 12)) + 2 * rng.standard_normal((1, 3, 1, 1))
        np.save(folder / f"{i:02}.npy", x.astype(np.float32))
    return *paths, folder
