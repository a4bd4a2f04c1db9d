"""Average pooling: neighbours along the token order are averaged.

Control, no paper. Groups are contiguous runs of the token order: raster order for image patches,
so a group is a horizontal run of patches that may wrap into the next row and not a square window;
time for a cache. That makes it work for any budget and any model, with or without a grid. What a
merging method gains over this is what its matching is worth.
"""

from __future__ import annotations

import torch

from methods.base import TokenMethod
from methods.contexts import TokenContext
from methods.transform import TokenTransform


class AveragePooling(TokenMethod[TokenContext]):
    """Merges runs of floor(N/K) or ceil(N/K) tokens, weighted by their sizes."""

    def transform(self, ctx: TokenContext) -> TokenTransform:
        """Token n goes to row floor(n K / N)."""
        positions_N = torch.arange(ctx.num_in, device=ctx.device)
        rows_N = positions_N * ctx.num_keep // ctx.num_in
        rows_BN = rows_N.expand(ctx.batch, -1).contiguous()
        return TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_keep)
