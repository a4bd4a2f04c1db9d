"""ATS: sample tokens from the distribution of their significance.

"Adaptive Token Sampling For Efficient Vision Transformers" (arXiv:2111.15667). Official code:
github.com/adaptivetokensampling/ATS (``libs/models/transformers/ats_block.py``). A token's
significance is the class token's attention to it times the norm of its value. Inverse transform
sampling reads the cumulative distribution of significance at K fixed, evenly spaced points
(2k - 1) / 2K, so that a draw is not random; a very significant token is hit by several points, and
then fewer than K tokens remain.

Where we differ:

- The budget is met exactly: points that hit a token already drawn are spread again, in the same
  way, over the tokens not drawn yet, until K are drawn. The paper's number of tokens depends on the
  image; one batch of a sweep has one budget.
- The points above are our reading of the paper's fixed sampling. The official code spreads them
  from the smallest value of the cumulative distribution to 1 and takes the nearest token, where we
  take the first that reaches the point.
- Equal significances are settled for the earlier token.

As in the official code the distribution is accumulated in order of rising significance, values are
normed over all heads together, and attention is that of the block in which tokens are dropped.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._class_attention import class_attention


class ATS(ScoringMethod[VisionContext]):
    """Prunes to a deterministic sample of the significance distribution."""

    paper: ClassVar[Paper | None] = Paper(
        title="Adaptive Token Sampling For Efficient Vision Transformers",
        arxiv="2111.15667",
        code="https://github.com/adaptivetokensampling/ATS",
    )
    home: ClassVar[Schedule] = Progressive()
    needs_cls: ClassVar[bool] = True

    def score(self, ctx: VisionContext) -> Tensor:
        """Significance, [B, N]; positive, sums to 1."""
        assert ctx.values_BHND is not None
        norms_BN = ctx.values_BHND.float().transpose(1, 2).flatten(2).norm(dim=-1)
        # Attention and values can underflow; tokens without significance are drawn last, equally.
        floor = torch.finfo(norms_BN.dtype).tiny
        significance_BN: Tensor = (class_attention(ctx) * norms_BN).clamp_min(floor)
        return significance_BN / significance_BN.sum(1, keepdim=True)

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Prune to the sample, in the original order."""
        drawn_BN = sample(self.score(ctx), ctx.num_keep)
        kept_BK = drawn_BN.nonzero()[:, 1].view(ctx.batch, ctx.num_keep)
        return TokenTransform.keep(kept_BK, ctx.num_in)


def sample(significance_BN: Tensor, num_keep: int) -> Tensor:
    """``num_keep`` tokens per row by inverse transform sampling, bool [B, N]."""
    drawn_BN = torch.zeros_like(significance_BN, dtype=torch.bool)
    while (missing_B := num_keep - drawn_BN.sum(1)).any():
        left_BN = significance_BN.where(~drawn_BN, 0.0)
        hits_BK = inverse_transform(left_BN, missing_B, num_keep)
        new_BN = torch.zeros_like(drawn_BN).scatter(1, hits_BK, True)
        drawn_BN = drawn_BN | (new_BN & (missing_B > 0)[:, None])
    return drawn_BN


def inverse_transform(weights_BN: Tensor, num_points_B: Tensor, width: int) -> Tensor:
    """Tokens hit by ``num_points_B`` <= width even points, [B, width]; the last hit fills up."""
    rising_BN, order_BN = weights_BN.sort(dim=1, stable=True)
    shares_BN = rising_BN / rising_BN.sum(1, keepdim=True)
    steps = torch.arange(1, width + 1, device=weights_BN.device)
    points_B1 = num_points_B.clamp_min(1)[:, None]
    places_BK = (2 * steps.minimum(points_B1) - 1) / (2 * points_B1)
    cumulative_BN = shares_BN.cumsum(1)
    reached_BK = torch.searchsorted(cumulative_BN, places_BK * cumulative_BN[:, -1:])
    return order_BN.gather(1, reached_BK)
