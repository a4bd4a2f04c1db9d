"""DiffRate without its learnt rates: prune the least attended, merge the next.

"DiffRate: Differentiable Compression Rate for Efficient Vision Transformers" (arXiv:2305.17997).
Official code: github.com/OpenGVLab/DiffRate (``DiffRate/patch/deit.py``, ``DiffRate/merge.py``).
Tokens are sorted by the class token's attention. The last of them are pruned; the next are merged,
each into the most similar kept token (cosine of the hidden states after attention), as equal
members of an average.

Where we differ:

- The paper's contribution, learning by gradient how many tokens each block prunes and merges, is
  left out: the schedule decides how many remain, ``prune_share`` how many of the rest are pruned.
- Sizes count original tokens. The official code multiplies a merged token's size by its similarity
  before adding it, so that its proportional attention (later blocks add log(size)) is a little
  weaker than ours.
- Kept tokens stay in their original order; the official code sorts them by attention.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from methods.base import Paper
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._class_attention import ClassAttentionMethod
from methods.vision._clusters import nearest_of


class DiffRate(ClassAttentionMethod):
    """Pruning and merging in one sorted list, at rates that are given instead of learnt."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="DiffRate: Differentiable Compression Rate for Efficient Vision Transformers",
        arxiv="2305.17997",
        code="https://github.com/OpenGVLab/DiffRate",
    )
    home: ClassVar[Schedule] = Progressive()
    proportional_attention: ClassVar[bool] = True

    prune_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the removed tokens, the least attended first, that is pruned instead "
        "of merged. Learnt per block in the paper.",
    )

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Rows follow the kept tokens' original order; a pruned token weighs nothing."""
        num_merged = ctx.num_in - ctx.num_keep - self.num_pruned(ctx)
        attention_BN = self.score(ctx)
        order_BN = attention_BN.argsort(dim=1, descending=True, stable=True)
        kept_BK = order_BN[:, : ctx.num_keep].sort(1).values
        if num_merged == 0:
            return TokenTransform.keep(kept_BK, ctx.num_in)
        used_BU = order_BN[:, : ctx.num_keep + num_merged]
        merged_BR = used_BU[:, ctx.num_keep :]
        own_rows_K = torch.arange(ctx.num_keep, device=ctx.device)
        rows_BN = torch.zeros_like(order_BN).scatter(1, kept_BK, own_rows_K.expand_as(kept_BK))
        rows_BN.scatter_(1, merged_BR, nearest_of(ctx.hidden_BND, merged_BR, kept_BK))
        weights_BN = torch.zeros_like(attention_BN).scatter(1, used_BU, 1.0)
        return TokenTransform.merge(rows_BN, weights_BN, ctx.num_keep)

    def num_pruned(self, ctx: VisionContext) -> int:
        """How many tokens nobody inherits, rounded half up."""
        return int(self.prune_share * (ctx.num_in - ctx.num_keep) + 0.5)
