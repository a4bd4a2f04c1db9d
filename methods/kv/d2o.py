"""D2O: keep heavy hitters and recent entries, and call back evicted ones that resemble a kept one.

"D2O: Dynamic Discriminative Operations for Efficient Long-Context Inference of Large Language
Models" (arXiv:2406.13035), section 3.3, the operation at token level. Official code:
github.com/AIoT-MLSys-Lab/D2O (``modeling_llama3_7b_13b_d2o.py``). Entries are chosen as H2O does,
with the first few (attention sinks) kept besides. Every evicted entry is matched with the kept one
whose key has the largest cosine similarity u; where u reaches a threshold, key and value are merged
into it with weights exp(u), against e for the kept entry itself; the others are dropped.

Where we differ:

- The threshold is an exponential moving average over cuts that starts with the mean of the first
  cut's similarities. Here the cut happens once, after the prompt, so that it is that mean, taken
  for each head; the official code averages over heads.
- The weights are the paper's, which sum to 1. The official code averages u-times-entry terms and
  the kept entry evenly, so that merged entries shrink.
- The operation at layer level is left to the schedule: the paper gives layers whose attention is
  spread more (a small variance over the prompt) more of the budget, which depends on the prompt, so
  that the examples of one batch would need caches of different lengths.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, top_indices
from methods.contexts import CacheContext
from methods.kv._attention import received_attention
from methods.kv._merge import merged, nearest_kept
from methods.kv._recent import RecentAndBest
from methods.transform import TokenTransform


class D2O(RecentAndBest):
    """Keep heavy hitters and recent entries; merge evicted ones with similar keys into them."""

    paper: ClassVar[Paper | None] = Paper(
        title="D2O: Dynamic Discriminative Operations for Efficient Long-Context Inference of "
        "Large Language Models",
        arxiv="2406.13035",
        code="https://github.com/AIoT-MLSys-Lab/D2O",
    )

    num_sinks: int = Field(
        default=4, ge=0, description="Entries at the prompt's front that count as heavy hitters."
    )

    def merit(self, ctx: CacheContext) -> Tensor:
        """Attention received from all queries, with sinks above it."""
        merit_BN = received_attention(ctx, ctx.queries_BGTD.shape[2])
        merit_BN[:, : self.num_sinks] = ctx.queries_BGTD.shape[2] + 1
        return merit_BN

    def transform(self, ctx: CacheContext) -> TokenTransform:
        """Kept entries, each averaged with the evicted ones that are similar enough."""
        kept_BK = top_indices(self.score(ctx), ctx.num_keep)
        near = nearest_kept(ctx, kept_BK, num_targets=ctx.num_keep)
        threshold_B1 = near.similarity_BE.mean(1, keepdim=True)
        recalled_BE = near.similarity_BE >= threshold_B1
        given_BE = near.similarity_BE.exp() * recalled_BE
        own_BK = torch.full_like(kept_BK, torch.e, dtype=given_BE.dtype)
        return merged(ctx, kept_BK, near, own_BK, given_BE)
