"""Uniform frames: whole frames at equal distances in time.

Control of the family, no paper: this is how video models are fed in practice, and what B-VLLM,
among others, compares itself with. As many whole frames are kept as the budget holds, evenly spaced
over the video, and one more in part, whose tokens are spread over the frame.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.video._frames import spread_ranks
from methods.vlm._budgets import image_of


class UniformFrames(ScoringMethod[VisualContext]):
    """Keeps the middle frames of equal stretches of the video; the last of them in part."""

    paper: ClassVar[Paper | None] = None

    def score(self, ctx: VisualContext) -> Tensor:
        """Earlier ones of the wanted frames first, then all others, [B, N]."""
        frames, places = ctx.layout.num_images, ctx.layout.per_image
        # Where frames have lost tokens before, more of them are wanted.
        wanted = -(-ctx.num_keep * frames // ctx.num_in)
        chosen = [(2 * rank + 1) * frames // (2 * wanted) for rank in range(wanted)]
        priority_F = torch.zeros(frames, device=ctx.device)
        priority_F[chosen] = torch.arange(wanted, 0, -1.0, device=ctx.device)
        ranks_P = torch.tensor(spread_ranks(places), device=ctx.device)
        return priority_F[image_of(ctx)] * places - ranks_P[ctx.origin_BN % places]
