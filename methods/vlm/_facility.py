"""Greedy choice of the members that represent a set best, in lazy turns.

How much a member adds can only fall while others are taken (diminishing returns), so what it added
some turns ago is a bound on what it adds now. A turn asks those with the highest bounds, until the
highest of all is no bound any more: the greedy choice itself, at a small part of its O(P^2).

Shapes: G sets of P places each, C places that are asked at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.transform import rows_of

ASKED_AT_ONCE = 64


def greedy_turns(
    similarity_GPP: Tensor, merit_GP: Tensor, members_GP: Tensor, num_turns: int
) -> Tensor:
    """In which turn each member is taken, long [G, P]; ``num_turns`` for who is not taken by then.

    A turn takes who adds most to the sum, over all members (bool), of the similarity to the closest
    one taken (``similarity_GPP`` of member, row, to candidate, column; 0 before any is taken), plus
    the sum of the ``merit_GP`` of those taken. Of equals it takes the first.
    """
    cover = _Cover(similarity_GPP, merit_GP, members_GP)
    turns_GP = torch.full_like(members_GP, num_turns, dtype=torch.long)
    for turn in range(num_turns):
        best_G1, exists_G1 = cover.best()
        turns_GP.scatter_(1, best_G1, turns_GP.gather(1, best_G1).where(~exists_G1, turn))
        cover.take(best_G1)
    return turns_GP


class _Cover:
    """How close everyone is to the closest one taken, and what each candidate at most adds."""

    def __init__(self, similarity_GPP: Tensor, merit_GP: Tensor, members_GP: Tensor) -> None:
        self._to_each_GPP = similarity_GPP.mT.contiguous()
        self._merit_GP = merit_GP
        self._weight_G1P = members_GP[:, None].to(similarity_GPP.dtype)
        self._covered_GP = torch.zeros_like(merit_GP)
        places_P = torch.arange(merit_GP.shape[1], device=merit_GP.device)
        self._bound_GP = self._added(places_P.expand_as(merit_GP)).where(members_GP, -torch.inf)

    def best(self) -> tuple[Tensor, Tensor]:
        """Who adds most of those not taken, [G, 1], and whether there is anybody."""
        is_fresh_GP = torch.zeros_like(self._bound_GP, dtype=torch.bool)
        while True:
            best_G1 = self._bound_GP.argmax(1, keepdim=True)
            exists_G1 = self._bound_GP.gather(1, best_G1) > -torch.inf
            if bool((is_fresh_GP.gather(1, best_G1) | ~exists_G1).all()):
                return best_G1, exists_G1
            self._ask(is_fresh_GP)

    def take(self, taken_G1: Tensor) -> None:
        """Count ``taken_G1`` among those taken."""
        self._covered_GP = self._covered_GP.maximum(rows_of(self._to_each_GPP, taken_G1)[:, 0])
        self._bound_GP.scatter_(1, taken_G1, -torch.inf)

    def _ask(self, is_fresh_GP: Tensor) -> None:
        """Replace the highest bounds by what is added now."""
        stale_GP = self._bound_GP.masked_fill(is_fresh_GP, -torch.inf)
        asked_GC = stale_GP.topk(min(ASKED_AT_ONCE, stale_GP.shape[1])).indices
        may_be_taken_GC = self._bound_GP.gather(1, asked_GC) > -torch.inf
        added_GC = self._added(asked_GC).where(may_be_taken_GC, -torch.inf)
        self._bound_GP.scatter_(1, asked_GC, added_GC)
        is_fresh_GP.scatter_(1, asked_GC, True)

    def _added(self, places_GC: Tensor) -> Tensor:
        gains_GCP = rows_of(self._to_each_GPP, places_GC).sub_(self._covered_GP[:, None])
        gains_GCP = gains_GCP.clamp_min_(0).mul_(self._weight_G1P)
        return gains_GCP.sum(2) + self._merit_GP.gather(1, places_GC)
