"""Matching in rounds, shared by the methods that merge pairs.

One round of bipartite matching removes at most half of the tokens, because every token may be
merged into at most one other. A deeper cut repeats the matching on the merged tokens. All rounds
together are one assignment of input tokens to output rows: averages weighted by size compose
exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.base import VisionContext
from methods.transform import TokenTransform

Match = Callable[[Tensor, int], Tensor]
"""(features [B, M, D], number R to remove, R <= M // 2) to the output row of every token, long
[B, M] in 0..M-R-1."""


def merge_in_rounds(ctx: VisionContext, match: Match, round_share: float) -> TokenTransform:
    """Merge down to the budget with as many rounds of ``match`` as it takes.

    Features are the keys averaged over heads; a merged token has the average of its parts' keys,
    weighted by size. ``round_share`` in (0, 0.5] is the largest share of tokens that one round
    removes.
    """
    features_BMD, sizes_BM = ctx.keys_BHND.mean(1).float(), ctx.sizes_BN
    rows_BN = torch.arange(ctx.num_in, device=ctx.device).expand(ctx.batch, -1)
    while (num_tokens := features_BMD.shape[1]) > ctx.num_keep:
        num_remove = min(num_tokens - ctx.num_keep, max(1, int(num_tokens * round_share)))
        next_rows_BM = match(features_BMD, num_remove)
        step = TokenTransform.merge(next_rows_BM, sizes_BM, num_tokens - num_remove)
        features_BMD, sizes_BM = step(features_BMD), step.sizes(sizes_BM)
        rows_BN = next_rows_BM.gather(1, rows_BN)
    return TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_keep)


def ranks_among(chosen_BM: Tensor) -> Tensor:
    """How many chosen tokens come before each token: [B, M] bool to [B, M] long."""
    return chosen_BM.long().cumsum(1) - chosen_BM.long()
