"""The int8 weights and bias of one layer, given the scales of what it reads and makes, and the codes that mean 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tnnquant.graph import Node
from tnnquant.kernels.geometry import RELU, RELU6
from tnnquant.layers.weighted import Weighted, fused_activation
from tnnquant.recipes.best.full_range import CEILING
from tnnquant.recipes.best.guards import least_steps, with_guard_outputs, with_guard_weights
from tnnquant.recipes.best.layer_input import LayerInput, Moments
from tnnquant.recipes.best.rounding import CLIPS, corrected_bias, moved_bias, offset_bias, round_layer, shifted_bias
from tnnquant.weights import LayerWeights, quantize_layer

__all__ = ["LayerTask"]

#: Number of windows that is given for moments made of none: enough, so that they are not damped more.
_PLENTY = 1 << 20


@dataclass(frozen=True, eq=False)
class LayerTask:
    """One weighted layer.

    Attributes
    ----------
    node : Node
        In fp32, without room for guards.
    input_scale, output_scale : float32 (1,) or (C,)
        Without guards.
    input_zero, output_zero : int64 (1,) or (C,)
        The codes that mean 0; of the input with guards, of the output without.
    input_guards, output_guards : int
        Guard channels (:mod:`tnnquant.recipes.best.guards`).
    taps : bool (KH, KW) or None
        Taps that meet padding; needed with input guards.
    clips : tuple of float
        See :func:`tnnquant.recipes.best.rounding.round_layer`.
    offset : float64 (OC,) or None
        By how much each output is moved (:mod:`tnnquant.recipes.best.repeats`), in its unit.
    repeated : int64 (n,) or None
        Which output each of the last n makes once more.
    """

    node: Node
    input_scale: np.ndarray
    output_scale: np.ndarray
    input_zero: np.ndarray
    output_zero: np.ndarray
    input_guards: int
    output_guards: int
    taps: np.ndarray | None
    clips: tuple[float, ...] = CLIPS
    offset: np.ndarray | None = None
    repeated: np.ndarray | None = None

    def solve(
        self, seen: LayerInput | None, second_order: bool, mean_input: np.ndarray | None,
        wanted: np.ndarray | None = None,
    ) -> LayerWeights:  # fmt: skip
        """Round the weights and set the bias.

        Parameters
        ----------
        seen : LayerInput or None
            The codes that the layer reads; needed for the two steps below.
        second_order : bool
            Round by the second moments of the codes; else to the nearest.
        mean_input : float64 (G, K) or None
            Mean window of the input in fp32, for a bias that makes the mean output that of fp32; None: the bias is as
            it was.
        wanted : float32 (OC, windows) or None
            Outputs in fp32 at the windows of :meth:`LayerInput.sums`, for a bias that suits what is left of them after
            the activation; only with ``mean_input``.
        """
        node, layer = self.node, self.node.layer.expect(Weighted)
        weight, bias = layer.weight_array(node.tensors), layer.bias_array(node.tensors)
        assert bias is not None  # every layer has one (network.py)
        bias = bias + (self.output_zero * self.output_scale).astype(np.float32)
        result = self._rounded(weight, bias, seen, second_order)
        if mean_input is not None:
            assert seen is not None
            result = corrected_bias(weight, bias, result, mean_input, seen.mean)
            limits = self._limits()
            if wanted is not None and limits is not None:
                result = moved_bias(result, seen.sums(result.weight), wanted, self._low, *limits)
        else:
            result = shifted_bias(result, self.input_zero, layer.groups)
        if self.offset is not None:
            result = offset_bias(result, self.offset)
        return with_guard_outputs(result, self.output_guards, self.output_scale)

    @property
    def _low(self) -> np.ndarray:
        """By how much sums are lower than the values they mean, float64 (OC,) or (1,)."""
        return np.asarray(self.output_zero * self.output_scale.astype(np.float64))

    def _limits(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The output values between which the code does not saturate, float64 (OC,) or (1,) each; None: not known."""
        kind, scale = fused_activation(self.node.layer), self.output_scale.astype(np.float64)
        high = (127 - self.output_zero) * scale
        if kind == 0:
            return (-128 - self.output_zero) * scale, high
        if kind not in (RELU, RELU6):
            return None
        return np.zeros_like(high), np.minimum(high, CEILING) if kind == RELU6 else high

    def _rounded(
        self, weight: np.ndarray, bias: np.ndarray, seen: LayerInput | None, second_order: bool
    ) -> LayerWeights:
        scale, groups = self.input_scale, self.node.layer.expect(Weighted).groups
        if not second_order and not self.input_guards:
            return quantize_layer(weight, bias, scale, method="minmax", merge_type="channel", groups=groups)
        # For inputs without correlation, second-order rounding is rounding to the nearest.
        if second_order:
            assert seen is not None
            moments = seen.moments(self.input_guards)
        else:
            moments = Moments.none(weight[0].size, _PLENTY)
        if not self.input_guards:
            return round_layer(weight, bias, scale, moments, 0.0, self.clips, self.repeated)
        assert self.taps is not None  # of a layer whose input has guards
        least = least_steps(weight, scale, self.taps, self.input_guards)
        result = round_layer(weight, bias, scale, moments, least, self.clips, self.repeated)
        return with_guard_weights(result, self.input_guards, self.taps)
