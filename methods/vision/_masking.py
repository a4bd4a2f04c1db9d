"""Methods that remove no patch but keep some from taking part in a tower's attention.

Shapes: B images, C colour channels, H rows, W columns, N patches, D channels of the residual
stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Method
from methods.places import Place


@dataclass(frozen=True, kw_only=True)
class TowerProbe:
    """A vision tower that can be run on any pixels before its own pass, with gradients or without.

    ``pixels_BCHW`` (float32) are what the pass is about to read, as the model's processor
    normalised them; ``states`` takes pixels of that shape and a number of layers to run, and gives
    the patches after each of them, [B, N, D] in the model's precision. Nothing that watches the
    tower sees a probe. ``generator`` is the only source of randomness, a CPU generator.
    """

    pixels_BCHW: Tensor
    num_layers: int
    states: Callable[[Tensor, int], list[Tensor]]
    generator: torch.Generator


class MaskingMethod(Method):
    """A method that silences patches in some layers' attention; they stay where they are.

    The attention output of a silenced patch is zero, so that the residual stream carries it past
    that attention as it is. The keep ratio is the share of patches that are not silenced. Every
    layer computes as much as before, and choosing the patches costs more on top.
    """

    places: ClassVar[tuple[Place, ...]] = ("vision",)

    @property
    def simulated(self) -> frozenset[str]:
        """Tokens: none is saved, and what the probe reads is not among those counted.

        Operations, memory and time are measured with the probe's and are what they are.
        """
        return frozenset({"tokens"})

    def masked_layers(self, num_layers: int) -> range:
        """The layers, 0-based, in which patches are silenced; at least one."""
        raise NotImplementedError

    def uncertainty(self, probe: TowerProbe) -> Tensor:
        """How uncertain each patch is, [B, N]; the highest are silenced, of equals the earlier."""
        raise NotImplementedError
