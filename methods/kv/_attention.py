"""Attention that cached tokens received, for the methods that score by it.

Shapes: see :mod:`methods.base`; R rows are the last R query positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.base import CacheContext

ROWS_AT_ONCE = 256
"""Query rows whose probabilities exist at the same time, so that memory grows with N, not N^2."""


def received_attention(ctx: CacheContext, num_rows: int) -> Tensor:
    """Attention that each cached token got from the last ``num_rows`` queries, [B, N].

    Softmax probabilities in float32, causal, summed over the queries and averaged over the G query
    heads of the group. Only cached positions take part: where the last query's own entry is not in
    the cache (T = N + 1), its row is a softmax over the other N tokens.
    """
    num_queries = ctx.queries_BGTD.shape[2]
    first = max(num_queries - num_rows, 0)
    received_BN = ctx.keys_BND.new_zeros(ctx.batch, ctx.num_in, dtype=torch.float32)
    for start in range(first, num_queries, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, num_queries)
        received_BN += _probabilities(ctx, start, stop).sum(2).mean(1)
    return received_BN


def _probabilities(ctx: CacheContext, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of the causal attention over cached tokens, [B, G, R, N]."""
    queries_BGRD = ctx.queries_BGTD[:, :, start:stop]
    logits_BGRN = (queries_BGRD @ ctx.keys_BND.mT[:, None]).float() * ctx.scaling
    rows = torch.arange(start, stop, device=ctx.device)
    later_RN = torch.arange(ctx.num_in, device=ctx.device) > rows[:, None]
    return logits_BGRN.masked_fill_(later_RN, float("-inf")).softmax(-1)
