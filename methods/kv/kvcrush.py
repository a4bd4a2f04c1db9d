"""KVCrush: spend part of the budget on entries that stand for the ones another method would drop.

"KVCrush: Key value cache size-reduction using similarity in head-behaviour" (arXiv:2503.00022).
Official code: github.com/openvinotoolkit/openvino.genai
(``src/cpp/src/continuous_batching/cache/kvcrush.cpp``). Another method, ``base``, fills most of the
budget with important entries. Every token gets a binary vector with one bit per head: whether that
head counts it among the better half. The remaining entries are ordered by the Hamming distance of
their vectors to an anchor vector, which puts tokens that heads treat alike side by side; the order
is cut into as many equal buckets as there are places left, and the first of each bucket represents
it. One comparison per token takes the place of clustering.

Where we differ:

- Heads are the query heads: with grouped queries, each votes with the score it would have with a
  cache of its own, and the important entries of a key/value head are its group's mean.
- The official code serves a paged cache: there a vector belongs to a block, one bit per token of
  it, scores are averaged over heads, and whole blocks are kept. The paper's vectors, over heads,
  are what is here.
- ``proxy_share`` is our choice; the official code takes a number of blocks from its user.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Method, Paper, ScoringMethod
from methods.contexts import CacheContext
from methods.kv._scores import ScoringId, scoring_method


class KVCrush(ScoringMethod[CacheContext]):
    """Keep another method's best entries and representatives of the rest."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="KVCrush: Key value cache size-reduction using similarity in head-behaviour",
        arxiv="2503.00022",
        code="https://github.com/openvinotoolkit/openvino.genai",
        catalogue="kvcrush",
    )

    base: ScoringId = Field(default="snapkv", description="Method that scores importance.")
    proxy_share: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="Share of the budget for representatives, rounded down.",
    )
    anchor: Literal["random", "mean", "alternating"] = Field(
        default="random",
        description="Vector that distances are measured to: coin flips, what most tokens have, or "
        "0 and 1 in turn.",
    )

    @property
    def components(self) -> tuple[Method, ...]:
        """The method that scores."""
        return (scoring_method(self.base),)

    def score(self, ctx: CacheContext) -> Tensor:
        """Importance, with representatives between the important entries and the rest."""
        num_proxies = int(self.proxy_share * ctx.num_keep)
        per_head = replace(_per_query_head(ctx), num_keep=ctx.num_keep - num_proxies)
        scores_CN = scoring_method(self.base).score(per_head).float()
        group = ctx.queries_BGTD.shape[1]
        ranks_BN = _ranks(scores_CN.view(ctx.batch, group, ctx.num_in).mean(1))
        distance_BN = self._distances(ctx, scores_CN)
        proxies_BP = _representatives(ranks_BN, distance_BN, per_head.num_keep, num_proxies)
        return -ranks_BN.scatter(1, proxies_BP, per_head.num_keep - 0.5)

    def _distances(self, ctx: CacheContext, scores_CN: Tensor) -> Tensor:
        """Hamming distance of every token's vector to the anchor, the same for all heads."""
        num_heads = ctx.num_heads * ctx.queries_BGTD.shape[1]
        bits_CN = _ranks(scores_CN) < ctx.num_in // 2
        bits_SHN = bits_CN.view(-1, num_heads, ctx.num_in)
        distance_SN = (bits_SHN != self._anchor(ctx, bits_SHN)).sum(1)
        return distance_SN.repeat_interleave(ctx.num_heads, dim=0)

    def _anchor(self, ctx: CacheContext, bits_SHN: Tensor) -> Tensor:
        """Bits that broadcast to [S, H, N]."""
        num_heads = bits_SHN.shape[1]
        if self.anchor == "mean":
            return bits_SHN.float().mean(2, keepdim=True) > 0.5
        if self.anchor == "alternating":
            return (torch.arange(num_heads, device=ctx.device) % 2 == 1)[:, None]
        flips_H = torch.randint(0, 2, (num_heads,), generator=ctx.generator) == 1
        return flips_H.to(ctx.device)[:, None]


def _per_query_head(ctx: CacheContext) -> CacheContext:
    """The context as if every query head had a cache of its own: C = B * G pairs."""
    group = ctx.queries_BGTD.shape[1]
    return replace(
        ctx,
        sizes_BN=ctx.sizes_BN.repeat_interleave(group, dim=0),
        keys_BND=ctx.keys_BND.repeat_interleave(group, dim=0),
        values_BND=ctx.values_BND.repeat_interleave(group, dim=0),
        queries_BGTD=ctx.queries_BGTD.flatten(0, 1)[:, None],
        num_heads=ctx.num_heads * group,
    )


def _ranks(scores_BN: Tensor) -> Tensor:
    """Place of every token in its row's order, 0 for the best; ties go to the earlier token."""
    order_BN = scores_BN.argsort(dim=1, descending=True, stable=True)
    return order_BN.argsort(dim=1).float()


def _representatives(
    ranks_BN: Tensor, distance_BN: Tensor, num_important: int, num_proxies: int
) -> Tensor:
    """The first of every bucket among the entries that are not important, long [B, P]."""
    num_rest = ranks_BN.shape[1] - num_important
    last_BN = distance_BN.masked_fill(ranks_BN < num_important, distance_BN.max() + 1)
    order_BN = last_BN.argsort(dim=1, stable=True)[:, :num_rest]
    step = num_rest // max(num_proxies, 1)
    return order_BN[:, : num_proxies * step : step]
