"""Recent window: keep the latest entries of the cache.

Window attention as "Longformer: The Long-Document Transformer" (arXiv:2004.05150, section 3.1) and
many since use it; the baseline that StreamingLLM (arXiv:2309.17453, figure 1b) improves on.

Where we differ: the window is cut once, after the prompt; tokens fed later are added to it and
nothing slides.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import CacheContext


class RecentWindow(ScoringMethod[CacheContext]):
    """Keep the last ``num_keep`` entries."""

    paper: ClassVar[Paper | None] = Paper(
        title="Longformer: The Long-Document Transformer",
        arxiv="2004.05150",
        code="https://github.com/allenai/longformer",
    )

    def score(self, ctx: CacheContext) -> Tensor:
        """The position: later entries count more, [B, N]."""
        return torch.arange(ctx.num_in, device=ctx.device).expand(ctx.batch, -1)
