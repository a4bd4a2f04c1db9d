"""Evicted entries that are merged into kept ones, for the methods that do not just drop them.

Shapes: see :mod:`methods.contexts`; K entries are kept, E = N - K evicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.contexts import CacheContext
from methods.transform import TokenTransform, rows_of

ROWS_AT_ONCE = 256
"""Evicted entries whose similarities exist at the same time."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """For every evicted entry the kept one with the most similar key.

    ``evicted_BE`` (long) are the evicted positions, ascending; ``rows_BE`` (long, 0..K-1) index the
    kept entries; ``similarity_BE`` is the cosine between the two keys, 0 for a key of zeros.
    """

    evicted_BE: Tensor
    rows_BE: Tensor
    similarity_BE: Tensor


def nearest_kept(ctx: CacheContext, kept_BK: Tensor, num_targets: int) -> Nearest:
    """Match every entry outside ``kept_BK`` (ascending positions) with one of the first targets."""
    evicted_BE = others(kept_BK, ctx.num_in)
    keys_BND = normalize(ctx.keys_BND.float(), dim=-1)
    targets_BKD = rows_of(keys_BND, kept_BK[:, :num_targets])
    blocks = torch.split(rows_of(keys_BND, evicted_BE), ROWS_AT_ONCE, dim=1)
    best = [(block_BRD @ targets_BKD.mT).max(-1) for block_BRD in blocks]
    similarity_BE = torch.cat([values for values, _ in best], dim=1)
    return Nearest(evicted_BE, torch.cat([rows for _, rows in best], dim=1), similarity_BE)


def merged(
    ctx: CacheContext, kept_BK: Tensor, near: Nearest, own_BK: Tensor, given_BE: Tensor
) -> TokenTransform:
    """W in which every kept entry is averaged with the evicted ones that are nearest to it.

    ``own_BK`` (above 0) and ``given_BE`` are relative weights; an entry with weight 0 is dropped.
    """
    num_keep = kept_BK.shape[1]
    own_rows_BK = torch.arange(num_keep, device=ctx.device).expand_as(kept_BK)
    totals_BK = own_BK.scatter_add(1, near.rows_BE, given_BE)
    rows = torch.cat([own_rows_BK, near.rows_BE], dim=1)
    weights = torch.cat([own_BK, given_BE], dim=1) / totals_BK.gather(1, rows)
    cols = torch.cat([kept_BK, near.evicted_BE], dim=1)
    return TokenTransform(rows, cols, weights, ctx.num_in, num_keep)


def others(kept_BK: Tensor, num_in: int) -> Tensor:
    """Positions that are not in ``kept_BK``, ascending, [B, N - K]."""
    is_kept_BN = kept_BK.new_zeros(kept_BK.shape[0], num_in, dtype=torch.bool)
    is_kept_BN.scatter_(1, kept_BK, value=True)
    order_BN = is_kept_BN.byte().argsort(dim=1, stable=True)
    return order_BN[:, : num_in - kept_BK.shape[1]]
