"""The verdict on an int8 model: run beside its fp32 model on pictures, with TNN's integers, and judged by its outputs.

:mod:`~tnnquant.verdict.figures` compares arrays, :mod:`~tnnquant.verdict.kinds` says what an output is,
:mod:`~tnnquant.verdict.judge` holds the thresholds, :mod:`~tnnquant.verdict.compare` runs the two models,
:mod:`~tnnquant.verdict.layers` finds where the noise comes from. Which pictures are used says
:mod:`tnnquant.inputs.split`. docs/verdict.md explains the figures to users.
"""

from __future__ import annotations

from tnnquant.verdict.result import BROKEN, DOUBTFUL, GOOD, SetVerdict, Verdict

__all__ = ["BROKEN", "DOUBTFUL", "GOOD", "SetVerdict", "Verdict"]
