"""Uniform: every N/K-th token, the same positions in every sequence.

Control, no paper. Positions are spread over the token order: raster order for image patches, time
for a cache. On an image grid this is a regular pattern whose columns repeat where the stride
divides the width.
"""

from __future__ import annotations

import torch

from methods.base import TokenMethod
from methods.contexts import TokenContext
from methods.transform import TokenTransform


class Uniform(TokenMethod[TokenContext]):
    """Cuts the token order into K stretches of nearly equal length and keeps each one's middle."""

    def transform(self, ctx: TokenContext) -> TokenTransform:
        """Prune to positions floor((k + 1/2) N / K), k = 0..K-1."""
        ranks_K = torch.arange(ctx.num_keep, device=ctx.device)
        kept_K = (2 * ranks_K + 1) * ctx.num_in // (2 * ctx.num_keep)
        return TokenTransform.keep(kept_K.expand(ctx.batch, -1), ctx.num_in)
