"""What a recipe is: a way to quantize a model as a whole, and what it needs for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tnnquant.base.registry import Registry

if TYPE_CHECKING:
    from tnnquant.quantization.quantize import Quantization

__all__ = ["REGISTRY", "Recipe", "recipe"]

REGISTRY: Registry[Recipe] = Registry("recipe", "tnnquant.recipes")

Made = TypeVar("Made", bound="Callable[..., Quantization]")


@dataclass(frozen=True)
class Recipe:
    """A recipe and what it declares; nothing else in the program asks for one by its name.

    Attributes
    ----------
    name : str
    quantize : callable
        As :func:`tnnquant.recipes.quantize`.
    needs_inputs : bool
        It makes statistics of the inputs. Without, the inputs are only for the verdict.
    chooses_on_held_out : bool
        It compares models, on pictures held out for that.
    starts_from_statistics : bool
        Its scales come from observers' statistics of single samples: these may be gathered elsewhere, in parts, and
        shared between trials.
    settings : tuple of str
        The fields of :class:`~tnnquant.config.QuantizeConfig` that not every recipe looks at and this one does.
    bounded : bool
        It takes ``budget``, seconds, and skips what cannot be done within.
    takes_goal : bool
        It takes ``goal``, the user's own metric (:class:`tnnquant.verdict.own_metric.Goal` or None), and chooses by it.
    mixable : callable or None
        A variant whose layers can go back to fp32 one by one, where those of ``quantize`` cannot; of the same form.
    """

    name: str
    quantize: Callable[..., Quantization]
    needs_inputs: bool = True
    chooses_on_held_out: bool = False
    starts_from_statistics: bool = False
    settings: tuple[str, ...] = ()
    mixable: Callable[..., Quantization] | None = None
    bounded: bool = False
    takes_goal: bool = False


def recipe(
    code: int, name: str, *, needs_inputs: bool = True, chooses_on_held_out: bool = False,
    starts_from_statistics: bool = False, settings: tuple[str, ...] = (),
    mixable: Callable[..., Quantization] | None = None, bounded: bool = False, takes_goal: bool = False,
) -> Callable[[Made], Made]:  # fmt: skip
    """Decorator: register ``function(graph, split, config, progress) -> Quantization`` as a recipe.

    Parameters
    ----------
    code : int
        Its number; no other recipe has it.
    name : str
        What ``--recipe`` calls it.
    needs_inputs, chooses_on_held_out, starts_from_statistics, settings, mixable, bounded, takes_goal
        As the attributes of :class:`Recipe`.

    Raises
    ------
    ValueError
        Number or name are taken.
    """

    def enter(function: Made) -> Made:
        entry = Recipe(
            name, function, needs_inputs, chooses_on_held_out, starts_from_statistics, settings, mixable, bounded,
            takes_goal,
        )
        REGISTRY.register(name, code)(entry)
        return function

    return enter
