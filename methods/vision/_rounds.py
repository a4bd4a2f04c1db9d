"""Matching in rounds, shared by the methods that merge pairs.

One round of matching removes at most half of the tokens, because every merged token needs another
one to be merged into. A deeper cut repeats the matching on the merged tokens. All rounds together
are one assignment of input tokens to output rows: averages weighted by size compose exactly.

Shapes: B sequences, N tokens in, M tokens left before a round, R of them removed by it, S and T
the two sides of a bipartite matching, D channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import TokenMethod
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform


@dataclass(frozen=True)
class Round:
    """The tokens as they stand before one round, ``num_remove`` <= M // 2 of which it removes.

    A merged token has the weighted average of its parts' features. ``rows_BN`` (long) says where
    every input token is by now.
    """

    features_BMD: Tensor
    sizes_BM: Tensor
    rows_BN: Tensor
    num_remove: int

    def cosines(self) -> Tensor:
        """Cosine of every pair of features, [B, M, M]."""
        directions_BMD = normalize(self.features_BMD, dim=-1)
        return directions_BMD @ directions_BMD.transpose(1, 2)

    def total(self, x_BN: Tensor) -> Tensor:
        """Sum of a quantity of the input tokens over the parts of every token, [B, M]."""
        return x_BN.new_zeros(self.sizes_BM.shape).scatter_add(1, self.rows_BN, x_BN)


class RoundMerging(TokenMethod[VisionContext]):
    """Merges matched tokens, round by round, into weighted averages; the weight is their size."""

    home: ClassVar[Schedule] = Progressive()
    proportional_attention: ClassVar[bool] = True

    round_share: float = Field(
        default=0.5,
        gt=0,
        le=0.5,
        description="Largest share of tokens that one round of matching removes; deeper cuts take "
        "several rounds.",
    )

    def features(self, ctx: VisionContext) -> Tensor:
        """What tokens are compared by, float [B, N, D]: the block's keys averaged over heads."""
        return ctx.keys_BHND.mean(1).float()

    def weights(self, ctx: VisionContext) -> Tensor:
        """Relative weight of every token in the averages, above 0, [B, N]."""
        return ctx.sizes_BN

    def match(self, ctx: VisionContext, now: Round) -> Tensor:
        """Output row of every token after one round, long [B, M] in 0..M-R-1."""
        raise NotImplementedError

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Merge down to the budget with as many rounds as it takes."""
        weights_BN = self.weights(ctx)
        rows_BN = rows_after_rounds(
            self.features(ctx),
            ctx.sizes_BN,
            weights_BN,
            num_keep=ctx.num_keep,
            round_share=self.round_share,
            match=partial(self.match, ctx),
        )
        return TokenTransform.merge(rows_BN, weights_BN, ctx.num_keep)


def rows_after_rounds(
    features_BMD: Tensor,
    sizes_BM: Tensor,
    weights_BM: Tensor,
    *,
    num_keep: int,
    round_share: float,
    match: Callable[[Round], Tensor],
) -> Tensor:
    """Output row of every token after as many rounds as it takes, long [B, N] in 0..num_keep-1.

    Rounds, ``match`` and ``round_share`` are those of :class:`RoundMerging`.
    """
    rows_BN = torch.arange(features_BMD.shape[1], device=features_BMD.device)
    rows_BN = rows_BN.expand(features_BMD.shape[0], -1)
    while (num_tokens := features_BMD.shape[1]) > num_keep:
        num_remove = removed_in_round(num_tokens, num_keep, round_share)
        next_rows_BM = match(Round(features_BMD, sizes_BM, rows_BN, num_remove))
        rows_BN = next_rows_BM.gather(1, rows_BN)
        if num_tokens - num_remove == num_keep:
            # Nothing compares the tokens of the last round.
            break
        step = TokenTransform.merge(next_rows_BM, weights_BM, num_tokens - num_remove)
        features_BMD = step(features_BMD)
        sizes_BM, weights_BM = step.sizes(sizes_BM), step.sizes(weights_BM)
    return rows_BN


def removed_in_round(num_tokens: int, num_keep: int, round_share: float) -> int:
    """How many of ``num_tokens`` the next round removes on the way to ``num_keep``."""
    return min(num_tokens - num_keep, max(1, int(num_tokens * round_share)))


def bipartite_matching(features_BMD: Tensor, num_remove: int) -> Tensor:
    """ToMe's: the ``num_remove`` most similar proposals are merged; output rows, long [B, M]."""
    similarity_BS, partner_BS = bipartite_proposals(features_BMD)
    return accept_proposals(similarity_BS, partner_BS, features_BMD.shape[1], num_remove)


def bipartite_proposals(features_BMD: Tensor) -> tuple[Tensor, Tensor]:
    """Every token of A (even positions) proposes its most similar token of B (odd positions).

    Returns the cosine [B, S] and the position within B (long [B, S], 0..T-1) of each proposal.
    """
    directions_BMD = normalize(features_BMD, dim=-1)
    a_BSD, b_BTD = directions_BMD[:, ::2], directions_BMD[:, 1::2]
    similarity_BS, partner_BS = (a_BSD @ b_BTD.transpose(1, 2)).max(-1)
    return similarity_BS, partner_BS


def accept_proposals(merit_BS: Tensor, partner_BS: Tensor, num_tokens: int, num: int) -> Tensor:
    """Output row of every token once the ``num`` proposals of highest merit are merged, [B, M].

    Rows: the unmerged tokens of A in order, then B. Equal merits are settled for the earlier token.
    """
    best_BR = merit_BS.argsort(dim=1, descending=True, stable=True)[:, :num]
    merged_BS = torch.zeros_like(merit_BS, dtype=torch.bool).scatter(1, best_BR, True)
    first_b_row = merit_BS.shape[1] - num
    rows_BM = partner_BS.new_empty(merit_BS.shape[0], num_tokens)
    rows_BM[:, ::2] = torch.where(merged_BS, first_b_row + partner_BS, ranks_among(~merged_BS))
    rows_BM[:, 1::2] = first_b_row + torch.arange(num_tokens // 2, device=merit_BS.device)
    return rows_BM


def merge_into_survivors(sources_BR: Tensor, partners_BR: Tensor, num_tokens: int) -> Tensor:
    """Output row of every token once each source was merged into its partner, [B, M].

    Positions are 0..M-1, no partner is a source. Survivors stay in their original order.
    """
    survives_BM = torch.ones(
        sources_BR.shape[0], num_tokens, dtype=torch.bool, device=sources_BR.device
    ).scatter(1, sources_BR, False)
    rows_BM = ranks_among(survives_BM)
    return rows_BM.scatter(1, sources_BR, rows_BM.gather(1, partners_BR))


def ranks_among(chosen_BM: Tensor) -> Tensor:
    """How many chosen tokens come before each token: [B, M] bool to [B, M] long."""
    return chosen_BM.long().cumsum(1) - chosen_BM.long()
