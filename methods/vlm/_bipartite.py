"""Bipartite matching in rounds, for methods that merge visual tokens outside a vision tower.

Shapes: B examples, N current tokens, I images per example, G sets of M tokens each, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.vision._rounds import bipartite_matching, rows_after_rounds
from methods.vlm._budgets import tokens_per_image


def bipartite_rows(features_GMD: Tensor, sizes_GM: Tensor, num_keep: int) -> Tensor:
    """Output row of every token, long [G, M] in 0..num_keep-1, once the most similar are merged.

    Tokens are split alternately into A and B, each of A proposes its most similar one of B, and the
    best proposals are merged into averages weighted by size; a round removes at most half.
    """
    return rows_after_rounds(
        features_GMD,
        sizes_GM,
        weights_BM=sizes_GM,
        num_keep=num_keep,
        round_share=0.5,
        match=lambda now: bipartite_matching(now.features_BMD, now.num_remove),
    )


def merge_each_image(
    ctx: VisualContext, features_BND: Tensor, budgets_BI: Tensor
) -> TokenTransform:
    """Every image's tokens merged down to its budget; an image without budget is pruned.

    ``budgets_BI`` (long) add up to ``ctx.num_keep`` and are at most what an image has.
    """
    counts_BI = tokens_per_image(ctx)
    starts_BI, first_rows_BI = counts_BI.cumsum(1) - counts_BI, budgets_BI.cumsum(1) - budgets_BI
    rows_BN = torch.zeros_like(ctx.origin_BN)
    weights_BN = torch.zeros_like(ctx.sizes_BN)
    for count, budget in _distinct(counts_BI, budgets_BI):
        example_G, image_G = ((counts_BI == count) & (budgets_BI == budget)).nonzero(as_tuple=True)
        example_G1, places_M = example_G[:, None], torch.arange(count, device=ctx.device)
        tokens_GM = starts_BI[example_G, image_G][:, None] + places_M
        sizes_GM = ctx.sizes_BN[example_G1, tokens_GM]
        own_rows_GM = bipartite_rows(features_BND[example_G1, tokens_GM], sizes_GM, budget)
        rows_BN[example_G1, tokens_GM] = first_rows_BI[example_G, image_G][:, None] + own_rows_GM
        weights_BN[example_G1, tokens_GM] = sizes_GM
    return TokenTransform.merge(rows_BN, weights_BN, ctx.num_keep)


def _distinct(counts_BI: Tensor, budgets_BI: Tensor) -> list[tuple[int, int]]:
    """Images of the same length and budget are merged together; there are few such pairs."""
    pairs = zip(counts_BI.flatten().tolist(), budgets_BI.flatten().tolist(), strict=True)
    return sorted({(count, budget) for count, budget in pairs if budget > 0})
