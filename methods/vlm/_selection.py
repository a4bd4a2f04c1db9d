"""Choosing the best tokens of every image.

Shapes: B examples, N current tokens, I images per example (or any other groups of tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from methods.base import ScoringMethod
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.vlm._budgets import even_budgets, image_of


class PerImageMethod(ScoringMethod[VisualContext]):
    """Keeps the best-scored tokens of every image, because its paper looks at one image at a time.

    Pictures in context, frames and crops go through the official code's vision tower as a batch,
    and each keeps its own best tokens.
    """

    def budgets(self, ctx: VisualContext) -> Tensor:
        """Tokens to keep of every image, long [B, I], together ``ctx.num_keep``."""
        return even_budgets(ctx)

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Prune to the best-scored tokens of every image, in their original order."""
        kept_BN = best_of_each(self.score(ctx), image_of(ctx), self.budgets(ctx))
        return TokenTransform.keep(indices_of(kept_BN, ctx.num_keep), ctx.num_in)


def best_of_each(scores_BN: Tensor, groups_BN: Tensor, budgets_BI: Tensor) -> Tensor:
    """Whether a token is among the best ``budgets_BI`` of its group, bool [B, N]."""
    ranks_BN = ranks_within(scores_BN, groups_BN, budgets_BI.shape[1])
    return ranks_BN < budgets_BI.gather(1, groups_BN)


def ranks_within(scores_BN: Tensor, groups_BN: Tensor, num_groups: int) -> Tensor:
    """How many tokens of its own group come before a token, by falling score, long [B, N].

    Equal scores are settled for the earlier token.
    """
    order_BN = scores_BN.argsort(dim=1, descending=True, stable=True)
    members_BNI = one_hot(groups_BN.gather(1, order_BN), num_groups)
    before_BNI = members_BNI.cumsum(1) - members_BNI
    ordered_ranks_BN = (before_BNI * members_BNI).sum(2)
    return torch.empty_like(order_BN).scatter_(1, order_BN, ordered_ranks_BN)


def tiered(tiers_BN: Tensor, scores_BN: Tensor) -> Tensor:
    """Scores by which a higher tier (long) always comes first, and within a tier the score."""
    standing_BN = scores_BN.argsort(dim=1, descending=True, stable=True).argsort(1)
    tops_BN: Tensor = (tiers_BN + 1) * scores_BN.shape[1]
    return tops_BN - standing_BN


def indices_of(chosen_BN: Tensor, num_chosen: int) -> Tensor:
    """Positions of the chosen tokens, ascending, long [B, num_chosen]; as many in every row."""
    return chosen_BN.nonzero()[:, 1].view(-1, num_chosen)
