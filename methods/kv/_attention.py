"""Attention that cached tokens received, for the methods that score by it.

Every method reads it from here, block by block, so that no N x N matrix ever exists and nothing is
computed twice within a method.

Shapes: see :mod:`methods.contexts`; R rows are the queries of one block, C columns
the tokens that they may see.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from methods.contexts import CacheContext

ROWS_AT_ONCE = 128
"""Query rows whose probabilities exist at the same time, so that memory grows with N, not N^2."""


def received_attention(ctx: CacheContext, num_rows: int) -> Tensor:
    """Attention that each cached token got from the last ``num_rows`` queries, [B, N].

    Softmax probabilities in float32, causal, summed over the queries and averaged over the G query
    heads of the group. Only cached positions take part: where the last query's own entry is not in
    the cache (T = N + 1), its row is a softmax over the other N tokens.
    """
    received_BN = no_attention(ctx)
    for _, logits_BGRC in logit_blocks(ctx, num_rows):
        received_BN[:, : logits_BGRC.shape[3]] += logits_BGRC.softmax(-1).sum(2).mean(1)
    return received_BN


def received_globally_and_locally(ctx: CacheContext, num_rows: int) -> tuple[Tensor, Tensor]:
    """:func:`received_attention` from all queries and from the last ``num_rows``, in one pass."""
    global_BN, local_BN = no_attention(ctx), no_attention(ctx)
    num_queries = ctx.queries_BGTD.shape[2]
    for start, logits_BGRC in logit_blocks(ctx, num_queries):
        rows_BRC = logits_BGRC.softmax(-1).mean(1)
        global_BN[:, : rows_BRC.shape[2]] += rows_BRC.sum(1)
        if start + ROWS_AT_ONCE > num_queries - num_rows:
            late_BRC = rows_BRC[:, max(num_queries - num_rows - start, 0) :]
            local_BN[:, : late_BRC.shape[2]] += late_BRC.sum(1)
    return global_BN, local_BN


def no_attention(ctx: CacheContext) -> Tensor:
    """Zeros [B, N] in float32, to add attention to."""
    return ctx.keys_BND.new_zeros(ctx.batch, ctx.num_in, dtype=torch.float32)


def logit_blocks(ctx: CacheContext, num_rows: int) -> Iterator[tuple[int, Tensor]]:
    """The last ``num_rows`` queries' logits over cached tokens, in blocks of rows.

    Yields the block's first query position and float32 logits [B, G, R, C], minus infinity where a
    token is later than the query; the tokens from C on are later than all queries of the block.
    """
    num_queries = ctx.queries_BGTD.shape[2]
    first = max(num_queries - num_rows, 0)
    for start in range(first, num_queries, ROWS_AT_ONCE):
        yield start, _logits(ctx, start, min(start + ROWS_AT_ONCE, num_queries))


def _logits(ctx: CacheContext, start: int, stop: int) -> Tensor:
    batch, group, _, width = ctx.queries_BGTD.shape
    num_seen = min(stop, ctx.num_in)
    # Heads that share keys are more rows of one product, which copies no key.
    queries_BFD = ctx.queries_BGTD[:, :, start:stop].reshape(batch, -1, width)
    products_BFC = queries_BFD @ ctx.keys_BND[:, :num_seen].mT
    logits_BGRC = products_BFC.float().mul_(ctx.scaling).view(batch, group, -1, num_seen)
    rows_R = torch.arange(start, stop, device=ctx.device)
    later = torch.arange(start, num_seen, device=ctx.device) > rows_R[:, None]
    logits_BGRC[..., start:].masked_fill_(later, float("-inf"))
    return logits_BGRC
