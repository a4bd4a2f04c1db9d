"""A share of the budget for the latest entries, whatever their score; the rest goes by merit.

Shapes: see :mod:`methods.contexts`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from methods.base import ScoringMethod
from methods.contexts import CacheContext

RecentShare = Annotated[
    float,
    Field(ge=0, le=1, description="Share of the budget for the latest entries, rounded down."),
]


class RecentAndBest(ScoringMethod[CacheContext]):
    """Keeps the latest entries and, of those before them, the ones of highest merit."""

    recent_share: RecentShare = 0.5

    def merit(self, ctx: CacheContext) -> Tensor:
        """What an entry is ranked by if it is not among the latest: new numbers, [B, N]."""
        raise NotImplementedError

    def score(self, ctx: CacheContext) -> Tensor:
        """Merit, with the latest entries above everything."""
        scores_BN = self.merit(ctx)
        scores_BN[:, ctx.num_in - int(self.recent_share * ctx.num_keep) :] = float("inf")
        return scores_BN
