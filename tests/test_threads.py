"""Number of threads: checked against the machine before anything is imported or run."""

import pytest

from tnnquant.errors import ConfigError
from tnnquant.threads import available_cores, set_threads, threads_in_force


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_thread_is_refused(count):
    with pytest.raises(ConfigError, match=rf"--threads is {count}, expected 1 to \d+"):
        set_threads(count)


def test_more_threads_than_cores_are_refused(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with pytest.raises(ConfigError, match=f"expected 1 to {available_cores()}, the cores"):
        set_threads(available_cores() + 1)


def test_the_number_in_force_is_that_set_last(monkeypatch):
    from tnnquant import threads

    monkeypatch.setattr(threads, "_in_force", None)
    everything = threads_in_force()
    assert set_threads(1) == threads_in_force() == 1
    assert set_threads(None) == threads_in_force() == everything
