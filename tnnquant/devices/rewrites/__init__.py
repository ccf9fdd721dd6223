"""Layers that a device gets wrong, written as others that it gets right.

A rewrite is a function of a :class:`~tnnquant.devices.rewrites.fragment.Fragment` under ``@rewrite("Type", ...)`` that
adds layers to it and returns the blobs that take the place of the layer's outputs, or None where it does not apply.
Several of one type are tried in the order of the sources: the cheapest stands first.
"""

from __future__ import annotations

from tnnquant.devices.rewrites.apply import Made, make_right

__all__ = ["Made", "make_right"]
