"""Differential Token Drop: only what has changed since the frame before.

"TimeChat-Online: 80% Visual Tokens are Naturally Redundant in Streaming Videos"
(arXiv:2504.17343), section 3.2. The first frame is kept; of every later frame those tokens are
dropped whose place has hardly changed since the previous frame, by pixels (mean absolute
difference of the patch) or by features (cosine of the tokens). Official code:
github.com/yaolinli/TimeChat-Online (``modeling_qwen2_5_vl.py``, ``token_drop``).

The official code drops by a threshold, or a share of each frame. Here the budget is the video's:
the least changed tokens of all frames are dropped, which is what some threshold drops.

Where we differ:

- A budget below one frame thins the first frame evenly, in an order that is spread over it.
- Pixel differences are between images as the vision tower gets them, normalised; the official code
  undoes the normalisation, and its patches lie within two frames that are embedded together.
- A token whose predecessor was removed before counts as new.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cosine_similarity

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.video._frames import spread_ranks
from methods.vlm._places import at_places, from_places, occupied


class DifferentialTokenDrop(ScoringMethod[VisualContext]):
    """Prunes tokens that repeat the previous frame's token at the same place."""

    paper: ClassVar[Paper | None] = Paper(
        title="TimeChat-Online: 80% Visual Tokens are Naturally Redundant in Streaming Videos",
        arxiv="2504.17343",
        code="https://github.com/yaolinli/TimeChat-Online",
        catalogue="timechat-online-dtd",
    )

    signal: Literal["feature", "pixel"] = Field(
        default="feature", description="What is compared: tokens by cosine, or pixels by L1."
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Change since the frame before; the first frame is above all others, [B, N]."""
        change_BEP = _features(ctx) if self.signal == "feature" else _pixels(ctx)
        highest_B1 = change_BEP.flatten(1).amax(1, keepdim=True) if change_BEP.numel() else 0
        ranks_P = torch.tensor(spread_ranks(ctx.layout.per_image), device=ctx.device)
        first_BP = highest_B1 + len(ranks_P) - ranks_P.expand(ctx.batch, -1)
        return from_places(torch.cat([first_BP[:, None], change_BEP], 1), ctx)


def _features(ctx: VisualContext) -> Tensor:
    """1 - cosine of every later frame's tokens and their predecessors, [B, F - 1, P]."""
    hidden_BFPD, present_BFP = at_places(ctx.hidden_BND.float(), ctx), occupied(ctx)
    change_BEP = 1 - cosine_similarity(hidden_BFPD[:, 1:], hidden_BFPD[:, :-1], dim=-1)
    return change_BEP.where(present_BFP[:, :-1], 2.0)


def _pixels(ctx: VisualContext) -> Tensor:
    """Mean absolute difference of every later frame's patches, [B, F - 1, P]."""
    pixels_BFCHW = ctx.tower.pixels_BICHW.float()
    change_BEHW = (pixels_BFCHW[:, 1:] - pixels_BFCHW[:, :-1]).abs().mean(2)
    pooled = adaptive_avg_pool2d(change_BEHW.flatten(0, 1)[:, None], ctx.layout.grid)
    return pooled.view(*change_BEHW.shape[:2], ctx.layout.per_image)
