"""AdaKV: let the heads of a layer compete for one budget, instead of giving each the same.

"Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM Inference"
(arXiv:2407.11550), algorithm 1. Official code: github.com/FFY0/AdaKV
(``adaptive_snapkv/monkeypatch/snapkv_utils.py``). Another method, ``base``, scores entries; the
best of all heads together fill the layer's budget, so that heads whose attention is concentrated
give entries to heads whose attention is spread. As a safeguard each head's budget is moved towards
the even one by ``floor``. The heads' entries lie one after another in memory without padding: the
savings are real.

Where we differ:

- Budgets are rounded so that they add up to the layer's exactly (largest remainder, ties to the
  earlier head); the official code rounds each by itself.
- Every layer adapts; the official code lets its user exempt the first ones.
- In batches, each sequence allocates by itself; the official code knows one sequence.

NVIDIA/kvpress's AdaKVPress masks instead of evicting, and reads the safeguard differently: every
head keeps its best ``floor`` share of the even budget and competes for the rest; algorithm 1 mixes
the budget that was won with the even one. Both agree where ``floor`` is 0 or 1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.apportioning import largest_remainders
from methods.base import Method, Paper, top_indices
from methods.contexts import CacheContext
from methods.kv._base import HeadwiseMethod
from methods.kv._scores import ScoringId, scoring_method
from methods.transform import TokenTransform


class AdaKV(HeadwiseMethod):
    """Keep the best entries of all heads of a layer together."""

    version: ClassVar[int] = 3
    paper: ClassVar[Paper | None] = Paper(
        title="Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient "
        "LLM Inference",
        arxiv="2407.11550",
        code="https://github.com/FFY0/AdaKV",
    )

    base: ScoringId = Field(default="snapkv", description="Method that scores entries.")
    floor: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of every head's budget that it gets in any case; 1 gives all the same.",
    )

    @property
    def components(self) -> tuple[Method, ...]:
        """The method that scores."""
        return (scoring_method(self.base),)

    def transform(self, ctx: CacheContext) -> TokenTransform:
        """W over all heads' entries, head after head."""
        scores_BN = scoring_method(self.base).score(ctx).float()
        scores_SF = scores_BN.view(-1, ctx.num_heads * ctx.num_in)
        budgets_SH = self.budgets(ctx, scores_SF)
        order_BN = scores_BN.argsort(dim=1, descending=True, stable=True)
        within_BN = order_BN.argsort(dim=1) < budgets_SH.reshape(-1, 1)
        kept_SF = within_BN.view_as(scores_SF).byte()
        return TokenTransform.keep(
            top_indices(kept_SF, ctx.num_heads * ctx.num_keep), scores_SF.shape[1]
        )

    def budgets(self, ctx: CacheContext, scores_SF: Tensor) -> Tensor:
        """Entries that each head keeps, long [S, H]; every row adds up to the layer's budget."""
        total = ctx.num_heads * ctx.num_keep
        heads_SF = top_indices(scores_SF, total) // ctx.num_in
        won_SH = heads_SF.new_zeros(len(scores_SF), ctx.num_heads)
        won_SH.scatter_add_(1, heads_SF, torch.ones_like(heads_SF))
        wanted_SH = (1 - self.floor) * won_SH.double() + self.floor * ctx.num_keep
        return largest_remainders(wanted_SH, total)
