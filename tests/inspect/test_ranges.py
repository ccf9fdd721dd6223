"""Ranges, histograms and the thresholds of all methods."""

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.inputs import InputConfig, Samples, scan
from tnnquant.inspect.coverage import measure_coverage
from tnnquant.inspect.ranges import BARS, gather_ranges
from tnnquant.observers import create_observer, method_codes


def prepared(graph, folder):
    samples = Samples(scan(folder), graph.inputs, InputConfig(mean=(127.5,), scale=(1 / 127.5,)))
    return Executor(prepare_for_quantization(graph), exact=False), samples


def values(executor, samples, name):
    found = []
    for sample in samples:
        executor.run(sample.arrays, lambda blob, x: found.append(np.array(x, order="C")) if blob == name else None)
    return found


def test_ranges_histogram_and_methods(inspected, pictures):
    executor, samples = prepared(inspected, pictures)
    ranges = gather_ranges(executor, ["left_out", "input", "nowhere"], samples)
    assert list(ranges) == ["left_out", "input"]
    blob, arrays = ranges["left_out"], values(executor, samples, "left_out")
    whole = np.concatenate(arrays)
    np.testing.assert_array_equal(blob.low, whole.min(axis=(0, 2, 3)))
    np.testing.assert_array_equal(blob.high, whole.max(axis=(0, 2, 3)))
    assert blob.counts.size == BARS
    assert blob.counts.sum() == np.count_nonzero(whole)
    assert [t.method for t in blob.thresholds] == list(method_codes().values())
    for threshold in blob.thresholds:
        observer = create_observer(threshold.method, 1)
        for number in range(observer.passes):
            for array in arrays:
                observer.update(array, number)
        type(observer).finish([observer])
        scale, zero = observer.params()
        assert threshold.high == (127 - float(zero[0])) * float(scale[0])
        if not zero[0]:
            beyond = (np.abs(whole) > threshold.high).sum() / np.count_nonzero(whole)
            assert abs(threshold.clipped - beyond) < 0.01


def test_coverage_of_equal_pictures_and_of_one_that_stands_alone(inspected, pictures):
    executor, samples = prepared(inspected, pictures)
    slots = {"input": 1, "left_out": 4}
    coverage = measure_coverage(executor, slots, "minmax", samples)
    assert coverage.samples == 6
    arrays = values(executor, samples, "left_out")
    half, whole = (np.abs(np.concatenate(part)).max(axis=(0, 2, 3)) for part in (arrays[::2], arrays))
    np.testing.assert_allclose(coverage.moves["left_out"], np.median(1 - half / whole), atol=1e-6)
    assert coverage.is_enough == (coverage.settled >= 0.9)

    class Loud:
        """The same samples; the fourth is three times as loud."""

        def __len__(self):
            return len(samples)

        def __iter__(self):
            for i, sample in enumerate(samples):
                if i == 3:
                    sample.arrays["input"] *= 3
                yield sample

    coverage = measure_coverage(executor, slots, "kl", Loud())
    assert coverage.lone[0].name == "03.png"
    assert coverage.lone[0].blobs == 2
    assert coverage.moves["input"] > 0.3
    assert not coverage.is_enough
    assert coverage.verdict.startswith("add more")
    assert coverage.as_dict()["lone"][0]["name"] == "03.png"
