"""Quest: read the pages whose keys could matter to the query at best.

"Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference" (arXiv:2406.10774), section
3.3, algorithm 1. Official code: github.com/mit-han-lab/Quest. Entries form pages in their order;
each page remembers the smallest and the largest value of every key channel. A page's score is the
largest product that a key between the two could have with the query, sum_d max(q_d low_d, q_d
high_d), and the best pages are read. The first two layers read everything, as in the paper.

Where we differ: the budget is met to the entry, so that the last page may be read in part; the page
of the newest entries is always read; query heads that share keys share the pages, by the sum of
their scores, so that what is saved is real (the paper's models share no keys).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.attention._base import ReadContext, Reading, SparseAttention, best
from methods.base import Paper


class Quest(SparseAttention):
    """Pages ranked by an upper bound of their keys' products with the query."""

    paper: ClassVar[Paper | None] = Paper(
        title="Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference",
        arxiv="2406.10774",
        code="https://github.com/mit-han-lab/Quest",
    )

    page_size: int = Field(default=16, ge=1, description="Entries of a page.")
    full_layers: int = Field(default=2, ge=0, description="First layers that read everything.")

    def reads_all(self, layer: int) -> bool:
        """Whether a layer is one of the first, which read the whole cache."""
        return layer < self.full_layers

    def read(self, ctx: ReadContext) -> Reading | None:
        """Entries of the best pages, page by page until the budget is used up."""
        if self.reads_all(ctx.layer):
            return None
        lows_BKPD, highs_BKPD = self._bounds(ctx)
        scores_BHP = self.upper_bounds(ctx, lows_BKPD, highs_BKPD)
        scores_BKS = ctx.shared(scores_BHP).repeat_interleave(self.page_size, dim=2)
        scores_BKS = scores_BKS[..., : ctx.num_entries]
        newest = (ctx.num_entries - 1) // self.page_size * self.page_size
        scores_BKS[..., newest:] = torch.inf
        return Reading(best(scores_BKS, ctx.num_read), compared=2 * lows_BKPD.shape[2])

    def upper_bounds(self, ctx: ReadContext, lows_BKPD: Tensor, highs_BKPD: Tensor) -> Tensor:
        """The largest product a key of the page could have with each query head, [B, H, P]."""
        positive, negative = ctx.query_BHD.clamp_min(0), ctx.query_BHD.clamp_max(0)
        highs_BHPD = highs_BKPD.repeat_interleave(ctx.num_groups, dim=1)
        lows_BHPD = lows_BKPD.repeat_interleave(ctx.num_groups, dim=1)
        at_high_BHP: Tensor = (highs_BHPD @ positive[..., None])[..., 0]
        return at_high_BHP + (lows_BHPD @ negative[..., None])[..., 0]

    def _bounds(self, ctx: ReadContext) -> tuple[Tensor, Tensor]:
        """Smallest and largest key values of every page; those of whole pages are remembered."""
        whole = ctx.num_entries // self.page_size
        known: tuple[Tensor, Tensor] | None = ctx.sequence.get("bounds")
        start = 0 if known is None else known[0].shape[2]
        fresh = [_extremes(ctx.keys_BKSD, page, self.page_size) for page in range(start, whole)]
        parts = [*([] if known is None else [known]), *fresh]
        if whole:
            ctx.sequence["bounds"] = parts[0] = _joined(parts)
        if ctx.num_entries % self.page_size:
            return _joined([*parts[: whole and 1], _extremes(ctx.keys_BKSD, whole, self.page_size)])
        return parts[0]


def _extremes(keys_BKSD: Tensor, page: int, size: int) -> tuple[Tensor, Tensor]:
    keys = keys_BKSD[:, :, page * size : (page + 1) * size]
    return keys.amin(2, keepdim=True), keys.amax(2, keepdim=True)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    lows, highs = zip(*parts, strict=True)
    return torch.cat(lows, dim=2), torch.cat(highs, dim=2)
