"""What holds a model's matrices in fewer bits."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from methods.base import Method
from methods.places import Place

NOMINAL_BITS = 16  # of a published checkpoint's weights


class WeightFormat(Method):
    """A format for weights; there is one per choice of hyperparameters and no budget to turn."""

    places: ClassVar[tuple[Place, ...]] = ("weights",)
    bits: ClassVar[int]
    """Of one weight, scales not counted."""

    @property
    def fixed_ratio(self) -> float:
        """Bits over those of a 16-bit checkpoint; what is really held is measured."""
        return self.bits / NOMINAL_BITS

    def convert(self, model: nn.Module) -> None:
        """Replace parameters of ``model``, never their contents: the caller puts them back.

        Raises InfeasibleError if the format does not exist for this model or device.
        """
        raise NotImplementedError
