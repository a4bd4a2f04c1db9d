"""Sink and window: each step reads the first entries and the newest ones.

The reading pattern of StreamingLLM, "Efficient Streaming Language Models with Attention Sinks"
(arXiv:2309.17453), on a cache that stays whole: the static baseline that every selector must beat.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from methods.attention._base import ReadContext, Reading, SparseAttention
from methods.base import Paper


class SinkWindow(SparseAttention):
    """The first entries and the newest, whatever the query."""

    paper: ClassVar[Paper | None] = Paper(
        title="Efficient Streaming Language Models with Attention Sinks",
        arxiv="2309.17453",
        code="https://github.com/mit-han-lab/streaming-llm",
    )

    num_sinks: int = Field(default=4, ge=0, description="First entries that are always read.")

    def read(self, ctx: ReadContext) -> Reading:
        """Sinks, then the newest; a budget smaller than the sinks leaves only the newest."""
        sinks = self.num_sinks if self.num_sinks < ctx.num_read else 0
        newest = ctx.num_entries - (ctx.num_read - sinks)
        device = ctx.keys_BKSD.device
        entries_R = torch.cat(
            [
                torch.arange(sinks, device=device),
                torch.arange(newest, ctx.num_entries, device=device),
            ]
        )
        return Reading(entries_R.expand(*ctx.keys_BKSD.shape[:2], -1))
