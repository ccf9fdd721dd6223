"""Recipes by name: how a model is quantized as a whole."""

from __future__ import annotations

from tnnquant.base.registry import Registry

__all__ = ["REGISTRY", "recipe"]

REGISTRY = Registry("recipe", "tnnquant.recipes")


def recipe(code: int, name: str):
    """Decorator: register ``function(graph, samples, config, progress, watch) -> Quantization``."""
    return REGISTRY.register(name, code)
