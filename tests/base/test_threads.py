"""Number of threads: checked against the machine before anything is imported or run."""

import pytest

from tnnquant.base.threads import available_cores, set_threads
from tnnquant.errors import ConfigError


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_thread_is_refused(count):
    with pytest.raises(ConfigError, match=rf"threads is {count}, expected 1 to \d+"):
        set_threads(count)


def test_more_threads_than_cores_are_refused(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with pytest.raises(ConfigError, match=f"expected 1 to {available_cores()}, the cores"):
        set_threads(available_cores() + 1)
