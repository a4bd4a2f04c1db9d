"""EMS: choose by attention from everywhere and from nearby, evict the rest's tail, merge its head.

"EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression Based on Global-Local
Importance" (arXiv:2412.08521). No official code is known. Attention summed over all queries favours
early tokens, attention from the last ones favours late tokens; the Global-Local score is the larger
of the two after they have been brought to one scale. Each head keeps its best entries as centres,
evicts what scores low, and merges what lies between into the centre with the most similar key. A
*zero class*, an additional centre to which every entry has the same similarity, takes in what is
near no centre and vanishes, so that eviction and merging are one assignment, the same operation for
heads that are sparse and heads that are redundant.

Only abstract and summaries of the paper could be read. Our reading are: the common scale (both
scores divided by their sum over the entries); the zero class's similarity ``tau`` and the width of
the band that is merged, ``merge_share``; weights in proportion to the score; and that the latest
entries, whose queries make the local score, are kept unmixed.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, ScoringMethod, top_indices
from methods.contexts import CacheContext
from methods.kv._attention import received_globally_and_locally
from methods.kv._merge import Nearest, merged, nearest_kept
from methods.transform import TokenTransform


class EMS(ScoringMethod[CacheContext]):
    """Keep by Global-Local score; evict or merge the rest."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression Based "
        "on Global-Local Importance",
        arxiv="2412.08521",
        catalogue="ems",
    )

    window_size: int = Field(
        default=32, ge=1, description="Latest queries of the local score; at most half the budget."
    )
    merge_share: float = Field(
        default=1.0,
        ge=0,
        description="Entries that may be merged, the best below the kept ones, over the budget.",
    )
    tau: float = Field(
        default=0.6, ge=-1, le=1, description="Cosine similarity of every entry to the zero class."
    )

    def score(self, ctx: CacheContext) -> Tensor:
        """Global-Local score, with the local window above everything."""
        return self._with_window(ctx, self._importance(ctx))

    def transform(self, ctx: CacheContext) -> TokenTransform:
        """Kept entries, each centre averaged with the entries of its class."""
        importance_BN = self._importance(ctx)
        kept_BK = top_indices(self._with_window(ctx, importance_BN), ctx.num_keep)
        near = nearest_kept(ctx, kept_BK, num_targets=ctx.num_keep - self._window(ctx))
        own_BK = importance_BN.gather(1, kept_BK).clamp_min(torch.finfo(torch.float32).tiny)
        given_BE = importance_BN.gather(1, near.evicted_BE)
        return merged(ctx, kept_BK, near, own_BK, given_BE * self._merges(ctx, given_BE, near))

    def _importance(self, ctx: CacheContext) -> Tensor:
        """The larger of the two scores, each a share of all attention it counts, [B, N]."""
        observers = max(self._window(ctx), 1)
        global_BN, local_BN = received_globally_and_locally(ctx, observers)
        shares = [x / x.sum(1, keepdim=True) for x in (global_BN, local_BN)]
        return torch.maximum(*shares)

    def _with_window(self, ctx: CacheContext, importance_BN: Tensor) -> Tensor:
        scores_BN = importance_BN.clone()
        scores_BN[:, ctx.num_in - self._window(ctx) :] = float("inf")
        return scores_BN

    def _merges(self, ctx: CacheContext, given_BE: Tensor, near: Nearest) -> Tensor:
        """Neither evicted for a low score nor taken by the zero class, bool [B, E]."""
        num_merge = min(int(self.merge_share * ctx.num_keep), given_BE.shape[1])
        in_band_BE = torch.zeros_like(given_BE, dtype=torch.bool)
        in_band_BE.scatter_(1, top_indices(given_BE, num_merge), value=True)
        return in_band_BE & (near.similarity_BE > self.tau)

    def _window(self, ctx: CacheContext) -> int:
        return min(self.window_size, ctx.num_keep // 2)
