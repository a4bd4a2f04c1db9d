"""LLaVA-PruMerge: the patches the class token attends to, each with its nearest keys merged in.

"LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models"
(arXiv:2403.15388), algorithm 1. Tokens whose class-token attention is an outlier (above the third
quartile by more than 1.5 interquartile ranges) are selected. Each becomes itself plus the sum of
its k nearest tokens by key similarity, weighted by their class-token attention. Official code:
github.com/42Shawn/LLaVA-PruMerge (``clip_encoder.py``, ``token_prune_merge_advanced``), k = 32.

Where we differ:

- The number of outliers decides how several images share the budget and no longer the budget
  itself; a single image simply keeps the K most attended tokens.
- Attention and keys are of the layer whose output is projected, attention averaged over heads; the
  official code uses the last layer and one softmax over the heads side by side.
- The official code appends one token more, the sum of all unselected weighted by attention (of
  small norm, since the weights are not divided by their total); the paper's algorithm has none.
- Tokens are merged after the projector, not before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.vlm._budgets import exact_budgets, image_of, tokens_per_image
from methods.vlm._outliers import outliers
from methods.vlm._selection import PerImageMethod, best_of_each, indices_of
from methods.vlm._tower import class_attention, joint_keys


class LLaVAPruMerge(PerImageMethod):
    """Selects by class-token attention and merges neighbours in key space into the selected."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models",
        arxiv="2403.15388",
        code="https://github.com/42Shawn/LLaVA-PruMerge",
    )
    needs_cls: ClassVar[bool] = True
    needs_tower: ClassVar[bool] = True

    num_neighbors: int = Field(
        default=32,
        ge=0,
        description="Most similar tokens that are merged into each selected one; at most all "
        "others of the same image.",
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Class-token attention, [B, N]."""
        return class_attention(ctx, ctx.tower.selected)

    def budgets(self, ctx: VisualContext) -> Tensor:
        """In proportion to the number of outliers of every image, long [B, I]."""
        attention_BIP = ctx.tower.cls_attention_LBIHP[ctx.tower.selected].float().mean(2)
        counts_BI = outliers(attention_BIP).sum(2)
        return exact_budgets(counts_BI, tokens_per_image(ctx), ctx.num_keep)

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Selected tokens with their neighbours; several rows may share a neighbour."""
        attention_BN, images_BN = self.score(ctx), image_of(ctx)
        selected_BN = best_of_each(attention_BN, images_BN, self.budgets(ctx))
        selected_BK = indices_of(selected_BN, ctx.num_keep)
        cosines_BKN = _cosines_to_others(joint_keys(ctx), images_BN, selected_BK)
        count = min(self.num_neighbors, ctx.num_in - 1)
        nearest_BKk = cosines_BKN.argsort(dim=2, descending=True, stable=True)[..., :count]
        same_image_BKk = cosines_BKN.gather(2, nearest_BKk).isfinite()
        flat_attention_BKk = attention_BN.gather(1, nearest_BKk.flatten(1)).view_as(nearest_BKk)
        return _plus_neighbours(selected_BK, nearest_BKk, flat_attention_BKk * same_image_BKk, ctx)


def _cosines_to_others(keys_BND: Tensor, images_BN: Tensor, selected_BK: Tensor) -> Tensor:
    """Key similarity of selected tokens to all others of their image, else -inf, [B, K, N]."""
    directions_BND = normalize(keys_BND, dim=-1)
    index_BKD = selected_BK[..., None].expand(-1, -1, keys_BND.shape[2])
    cosines_BKN = directions_BND.gather(1, index_BKD) @ directions_BND.transpose(1, 2)
    together_BKN = images_BN.gather(1, selected_BK)[..., None] == images_BN[:, None]
    others_BKN = together_BKN.scatter(2, selected_BK[..., None], False)
    return cosines_BKN.where(others_BKN, -torch.inf)


def _plus_neighbours(
    selected_BK: Tensor, nearest_BKk: Tensor, weights_BKk: Tensor, ctx: VisualContext
) -> TokenTransform:
    """Every selected token with weight 1 plus its neighbours: an average times its total."""
    cols_BKc = torch.cat([selected_BK[..., None], nearest_BKk], 2)
    relative_BKc = torch.cat(
        [torch.ones_like(selected_BK, dtype=torch.float)[..., None], weights_BKk], 2
    )
    totals_BK = relative_BKc.sum(2)
    rows = torch.arange(ctx.num_keep, device=ctx.device)[:, None].expand_as(cols_BKc)
    shares_BKc = relative_BKc / totals_BK[..., None]
    w = TokenTransform(
        rows.flatten(1), cols_BKc.flatten(1), shares_BKc.flatten(1), ctx.num_in, ctx.num_keep
    )
    return replace(w, gains=totals_BK)
