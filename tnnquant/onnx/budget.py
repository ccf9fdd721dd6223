"""The limit on constants that nodes make out of sizes alone (ConstantOfShape, Expand, matrices of a Resize ...)."""

from __future__ import annotations

from tnnquant.onnx.refusal import Refused

__all__ = ["Budget"]

#: Bytes of constants that a model may make, besides _TIMES the bytes that it holds. The onnx package has test networks
#: whose weights are made by ConstantOfShape; VGG-19 is the largest, and its weights count twice: made, and in a layer.
MADE_BYTES = 3 << 29
_TIMES = 4


class Budget:
    """Counts the bytes that a model takes while it is converted."""

    def __init__(self) -> None:
        self.read = 0
        self.made = 0

    @property
    def left(self) -> int:
        """Bytes that may still be made."""
        return max(MADE_BYTES + _TIMES * self.read - self.made, 0)

    def spend(self, count: int) -> None:
        """Count bytes that were made.

        Raises
        ------
        Refused
            They are too many.
        """
        if count > self.left:
            raise Refused(
                f"its constants would take {(self.made + count) / 1e6:.0f} MB, made by nodes out of a file that holds "
                f"{self.read / 1e6:.1f} MB of weights; export the model with smaller dims"
            )
        self.made += count
