"""``fast``: the steps of ``best`` that need no choosing, from few pictures: about twice the time of the default.

Balanced scales, all 256 codes after a ReLU, second-order rounding, corrected biases; no layer is kept in fp32 for its
accuracy, and nothing is compared. The pictures for the verdict are never among those that the model is made from.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.inputs.split import Split
from tnnquant.quantization.borders import with_copies_at_borders
from tnnquant.quantization.quantize import Quantization
from tnnquant.recipes.base import recipe

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress

__all__ = ["fast"]

#: Samples that the model is made from, at most.
_SAMPLES = 16
#: Bytes of all samples.
_MEMORY = 96 << 20


def _mixable(graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None) -> Quantization:
    """Without shifted codes: layers of this can go back to fp32 one by one."""
    return _made(graph, split, config, progress, full_range=False)


@recipe(3, "fast", settings=("fp32_share",), mixable=_mixable)
def fast(graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None) -> Quantization:
    """Quantize by the steps of ``best`` that pay for their time; the flags for methods and types have no effect."""
    return _made(graph, split, config, progress, full_range=True)


def _made(
    graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None, *, full_range: bool
) -> Quantization:
    if config.fp32_share:
        raise ConfigError(
            f"{parameter('fp32_share')} is {config.fp32_share:g}, with the recipe fast expected 0 or none: it keeps "
            "nothing in fp32 but what int8 would only slow down"
        )
    from tnnquant.recipes.best.kept import keep_samples
    from tnnquant.recipes.best.workbench import Effort, Steps, Workbench

    effort = Effort(
        together=12, windows=2048, grouped_windows=512, most_windows=8192, windows_per_weight=6, outputs=768,
        clips=(1.0, 0.9, 0.8), repeats=True, streams=False, copies=full_range, judged=2, places=1600,
        exponents=(0.0, 0.375, 0.625, 1.0), headroom=(0.8, 1.0, 1.3, 1.75),
    )  # fmt: skip
    without = split.without
    others = (sample for sample in split.calibrating if not without or without.isdisjoint(sample.numbers))
    count = len(split.calibrating)

    def told(done: int) -> None:
        if progress:
            progress("reading", done, count)

    kept = partial(keep_samples, others, _MEMORY, _SAMPLES, told)
    work = Workbench(graph, split, config, progress, kept, effort)
    result = work.quantize(Steps(balance=True, full_range=full_range, rounding=True, bias=True))
    result.unseen = result.graph if without else None
    result = with_copies_at_borders(result, config)
    result.seconds.update(work.clock.laps)
    return result
