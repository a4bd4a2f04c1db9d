"""LongHeads: every head reads the chunks that suit it.

"LongHeads: Multi-Head Attention is Secretly a Long Context Processor" (arXiv:2402.10685), section
3. Official code: github.com/LuLuLuyi/LongHeads. The context is cut into chunks, each with a vector
that represents its keys; a head reads the chunks whose vectors suit its query best, and always the
first and the last chunk. Heads choose for themselves, so that together they read more than each.

What is our reading: a chunk's vector is the mean of its keys. The paper weighs the keys by
attention inside the chunk, from queries that a decoding step no longer has. Positions are not
re-mapped: the paper does that to run past the trained length, which is not our question. The budget
is met to the entry, so that the last chunk chosen may be read in part.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.attention._base import ReadContext, Reading, SparseAttention, best
from methods.base import Paper


class LongHeads(SparseAttention):
    """Chunks ranked by their mean key, for every query head by itself."""

    paper: ClassVar[Paper | None] = Paper(
        title="LongHeads: Multi-Head Attention is Secretly a Long Context Processor",
        arxiv="2402.10685",
        code="https://github.com/LuLuLuyi/LongHeads",
        catalogue="longheads",
    )

    chunk_size: int = Field(default=16, ge=1, description="Entries of a chunk; the paper has 256.")

    def read(self, ctx: ReadContext) -> Reading:
        """First and last chunk, then the best, until the budget is used up, [B, H, R]."""
        means_BKCD = self._means(ctx.keys_BKSD)
        scores_BHC = ctx.logits_against(means_BKCD).float()
        scores_BHC[..., 0] = torch.finfo(torch.float32).max
        scores_BHC[..., -1] = torch.inf
        scores_BHS = scores_BHC.repeat_interleave(self.chunk_size, dim=2)[..., : ctx.num_entries]
        return Reading(best(scores_BHS, ctx.num_read), compared=means_BKCD.shape[2])

    def _means(self, keys_BKSD: Tensor) -> Tensor:
        chunks = torch.split(keys_BKSD, self.chunk_size, dim=2)
        return torch.stack([chunk.mean(2) for chunk in chunks], dim=2)
