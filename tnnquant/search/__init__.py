"""Several models of one network, and the best of them: recipes in turn, layers kept in fp32, a target to reach.

:mod:`~tnnquant.search.statistics` is what all trials share, :mod:`~tnnquant.search.trials` compares them,
:mod:`~tnnquant.search.mixed` finds layers to keep in fp32, :mod:`~tnnquant.search.auto` says what is tried,
:mod:`~tnnquant.search.state` keeps all of it on disk.
"""

from __future__ import annotations

from tnnquant.search.trials import Trial

__all__ = ["Trial"]
