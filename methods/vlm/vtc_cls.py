"""VTC-CLS: class-token attention, summed over the deeper layers of the vision tower.

"[CLS] Token Tells Everything Needed for Training-free Efficient MLLMs" (arXiv:2412.05819). The
attention from the class token to the patches, averaged over heads, is summed over all layers from
a start layer to the one whose output is projected; the best tokens stay, in their order. Official
code: github.com/THU-MIG/VTC-CLS (``clip_encoder.py``, ``cls_token_only``).

Where we differ:

- The start layer is a share of the tower's depth. The official scripts take it from the command
  line; the default here, the middle, is ours.
- The paper has one image. Several images, frames or crops keep the same number of tokens each.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import VisualContext
from methods.vlm._selection import PerImageMethod
from methods.vlm._tower import class_attention, layer_at


class VTCCLS(PerImageMethod):
    """Prunes by class-token attention of an ensemble of tower layers."""

    paper: ClassVar[Paper | None] = Paper(
        title="[CLS] Token Tells Everything Needed for Training-free Efficient MLLMs",
        arxiv="2412.05819",
        code="https://github.com/THU-MIG/VTC-CLS",
        catalogue="vtc-cls",
    )
    needs_cls: ClassVar[bool] = True

    start_depth: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="First layer of the ensemble, as a share of the vision tower's layers; the "
        "last is the layer whose output is projected, which is always in.",
    )

    def tower_layers(self, num_layers: int, selected: int, /) -> frozenset[int]:
        """Layers of the tower whose class attention is summed."""
        return frozenset(self._ensemble(num_layers, selected))

    def score(self, ctx: VisualContext) -> Tensor:
        """Class-token attention summed over the ensemble, [B, N]."""
        layers = self._ensemble(ctx.tower.num_layers, ctx.tower.selected)
        return torch.stack([class_attention(ctx, layer) for layer in layers]).sum(0)

    def _ensemble(self, num_layers: int, selected: int) -> range:
        return range(min(layer_at(self.start_depth, num_layers), selected), selected + 1)
