"""What is kept of fp32's outputs: of pictures that are wanted, and small outputs of others."""

from types import SimpleNamespace

import numpy as np

from tnnquant.inputs.references import References


class Numbered(list):
    """Samples by number, as far as references ask for them."""

    numbers = property(lambda self: [sample.numbers[0] for sample in self])

    def subset(self, numbers):
        return Numbered(sample for sample in self if sample.numbers[0] in numbers)


SAMPLES = Numbered(SimpleNamespace(numbers=(number,)) for number in range(6))


def outputs(sample, size=10):
    return {"out": np.full(size, sample.numbers[0], np.float32)}


def test_what_is_wanted_is_kept_and_small_outputs_of_others_where_that_is_asked_for():
    for keeps_small, size, kept in ((False, 10, [1, 4]), (True, 10, [0, 1, 2, 3, 4, 5]), (True, 1 << 16, [1, 4])):
        references = References([1, 4], keeps_small=keeps_small)
        for sample in SAMPLES:
            references.see(sample, outputs(sample, size))
        assert references.numbers == kept


def test_what_another_process_has_seen_is_run():
    references, ran = References([1], keeps_small=True), []

    def run(sample):
        ran.append(sample.numbers[0])
        return outputs(sample)

    references.put(2, outputs(SAMPLES[2]))
    references.fill(SAMPLES, run)
    assert references.numbers == [0, 1, 2, 3, 4, 5]
    assert ran == [0, 1, 3, 4, 5]
    assert references.get(5)["out"][0] == 5


def test_large_outputs_are_not_run_for_nothing():
    references, ran = References([], keeps_small=True), []
    references.fill(SAMPLES, lambda sample: ran.append(sample) or outputs(sample, 1 << 16))
    assert len(ran) == 1
    References([]).fill(SAMPLES, lambda sample: ran.append(sample) or outputs(sample))
    assert len(ran) == 1
