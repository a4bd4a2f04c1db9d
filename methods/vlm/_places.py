"""Current visual tokens on the grid of all original ones, where some places may be empty.

Shapes: B examples, N current tokens, I images (or frames) per example, P places of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.contexts import VisualContext


def at_places(x_BN: Tensor, ctx: VisualContext) -> Tensor:
    """What current tokens have, at their original places: [B, N, ...] to [B, I, P, ...].

    Empty places hold zeros.
    """
    images, per_image = ctx.layout.num_images, ctx.layout.per_image
    shape = (ctx.batch, images * per_image, *x_BN.shape[2:])
    index = ctx.origin_BN.view(*ctx.origin_BN.shape, *(1,) * (x_BN.dim() - 2)).expand_as(x_BN)
    placed = x_BN.new_zeros(shape).scatter(1, index, x_BN)
    return placed.view(ctx.batch, images, per_image, *x_BN.shape[2:])


def occupied(ctx: VisualContext) -> Tensor:
    """Which places hold a token, bool [B, I, P]."""
    return at_places(torch.ones_like(ctx.origin_BN, dtype=torch.bool), ctx)


def from_places(x_BIP: Tensor, ctx: VisualContext) -> Tensor:
    """Undo :func:`at_places`, [B, N]."""
    return x_BIP.flatten(1).gather(1, ctx.origin_BN)
