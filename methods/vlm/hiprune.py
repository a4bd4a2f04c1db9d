"""HiPrune: anchors and their neighbours by a middle tower layer, the rest by a deep one.

"HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in Vision-Language Models"
(arXiv:2508.00553). Middle layers of a vision tower look at objects, deep layers at the whole. Of K
tokens, round(alpha K / 5) *anchors* receive the most attention in the object layer, *buffers* are
their four neighbours on the grid, and *registers*, the most attended in the layer whose output is
projected, fill the budget. No class token is needed. Official code: github.com/Danielement321/
HiPrune (``LLaVA/llava/model/llava_arch.py``, ``encode_images``); its defaults are alpha 0.1 and
layer 9 of 24, for Qwen2.5-VL layer 16 of 32 (``object_depth`` 0.5), one of the four there that
attend beyond their window.

Where we differ:

- The official code adds -1, +1, -24 and +24 to a flat index, so that a neighbour may lie on the
  other side of the image; here the grid has edges.
- Received attention counts the patches as queries; the official mean includes the class token's.
- Where anchors and buffers alone exceed a small budget, anchors come first, then the buffers with
  the most attention in the deep layer; the official code then keeps more than was asked for.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import VisualContext
from methods.vlm._budgets import image_of
from methods.vlm._selection import PerImageMethod, best_of_each, tiered
from methods.vlm._tower import at_origin, layer_at, received_attention


class HiPrune(PerImageMethod):
    """Prunes to anchors, buffers around them and registers."""

    paper: ClassVar[Paper | None] = Paper(
        title="HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in "
        "Vision-Language Models",
        arxiv="2508.00553",
        code="https://github.com/Danielement321/HiPrune",
        catalogue="hiprune",
    )

    alpha: float = Field(
        default=0.1, ge=0, le=1, description="Share of the budget for anchors and buffers."
    )
    object_depth: float = Field(
        default=0.375,
        ge=0,
        le=1,
        description="Layer in which anchors are found, as a share of the vision tower's layers.",
    )

    def tower_layers(self, num_layers: int, selected: int, /) -> frozenset[int]:
        """The one with the objects and the projected one."""
        return frozenset({layer_at(self.object_depth, num_layers), selected})

    def score(self, ctx: VisualContext) -> Tensor:
        """Anchors above buffers above all others, by attention in the deep layer, [B, N]."""
        anchors_BN = self.anchors(ctx)
        buffers_BN = grid_neighbours(anchors_BN, ctx)
        tiers_BN = torch.maximum(2 * anchors_BN.long(), buffers_BN.long())
        return tiered(tiers_BN, received_attention(ctx, ctx.tower.selected))

    def anchors(self, ctx: VisualContext) -> Tensor:
        """The most attended tokens of every image in the object layer, bool [B, N]."""
        counts_BI = (self.budgets(ctx) * self.alpha / 5 + 0.5).floor().long()
        objects_BN = received_attention(ctx, layer_at(self.object_depth, ctx.tower.num_layers))
        return best_of_each(objects_BN, image_of(ctx), counts_BI)


def grid_neighbours(chosen_BN: Tensor, ctx: VisualContext) -> Tensor:
    """Tokens left, right, above or below of a chosen one in the same image, bool [B, N]."""
    images, (rows, columns) = ctx.layout.num_images, ctx.layout.grid
    flat = torch.zeros(ctx.batch, ctx.layout.num_tokens, dtype=torch.bool, device=ctx.device)
    chosen_BIYX = flat.scatter(1, ctx.origin_BN, chosen_BN).view(-1, images, rows, columns)
    near_BIYX = torch.zeros_like(chosen_BIYX)
    near_BIYX[:, :, 1:] |= chosen_BIYX[:, :, :-1]
    near_BIYX[:, :, :-1] |= chosen_BIYX[:, :, 1:]
    near_BIYX[..., 1:] |= chosen_BIYX[..., :-1]
    near_BIYX[..., :-1] |= chosen_BIYX[..., 1:]
    return at_origin(near_BIYX.flatten(2), ctx) > 0
