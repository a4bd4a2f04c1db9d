"""StreamingLLM: keep the first few entries, which attract attention as sinks, and the latest.

"Efficient Streaming Language Models with Attention Sinks" (arXiv:2309.17453), section 3.2. Official
code: github.com/mit-han-lab/streaming-llm (``streaming_llm/kv_cache.py``).

Where we differ:

- Kept entries keep the positions they were read at. The official code caches keys before rotary
  embedding and numbers them by their place in the cache, which lets it stream past the trained
  length; within the trained length original positions are in distribution.
- The cut happens once, after the prompt; tokens fed later are added and nothing slides.
- A budget that the sinks would fill alone leaves one entry to the latest token: at ``num_keep`` of
  1, that token is all that stays.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import CacheContext


class StreamingLLM(ScoringMethod[CacheContext]):
    """Keep ``num_sinks`` entries from the front and fill the budget from the end."""

    paper: ClassVar[Paper | None] = Paper(
        title="Efficient Streaming Language Models with Attention Sinks",
        arxiv="2309.17453",
        code="https://github.com/mit-han-lab/streaming-llm",
    )

    num_sinks: int = Field(default=4, ge=0, description="Entries kept from the prompt's front.")

    def score(self, ctx: CacheContext) -> Tensor:
        """The position, with sinks above everything."""
        scores_N = torch.arange(ctx.num_in, device=ctx.device)
        scores_N[: min(self.num_sinks, ctx.num_keep - 1)] += ctx.num_in
        return scores_N.expand(ctx.batch, -1)
