"""Dividing one budget of tokens among the images of an example, to the token.

Shapes: B examples, N current tokens, I images per example.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from methods.apportioning import largest_remainders
from methods.contexts import VisualContext


def image_of(ctx: VisualContext) -> Tensor:
    """Which image each current token came from, long [B, N]."""
    return ctx.origin_BN // ctx.layout.per_image


def tokens_per_image(ctx: VisualContext) -> Tensor:
    """Current tokens of every image, long [B, I]."""
    return one_hot(image_of(ctx), ctx.layout.num_images).sum(1)


def even_budgets(ctx: VisualContext) -> Tensor:
    """The same budget for every image, as far as it has so many tokens left, long [B, I]."""
    capacity_BI = tokens_per_image(ctx)
    return exact_budgets(torch.ones_like(capacity_BI), capacity_BI, ctx.num_keep)


def exact_budgets(weights_BI: Tensor, capacity_BI: Tensor, total: int) -> Tensor:
    """``total`` tokens in proportion to ``weights_BI``, none above its capacity, long [B, I].

    What an image cannot hold goes to the others in proportion; fractions are rounded by largest
    remainder, ties for the earlier image. Weights are not negative; ``total`` is at most the sum of
    ``capacity_BI`` (long).
    """
    quotas_BI = _quotas(weights_BI.double(), capacity_BI.double(), total)
    return largest_remainders(quotas_BI, total)


def _quotas(weights_BI: Tensor, capacity_BI: Tensor, total: int) -> Tensor:
    """Real-valued budgets; each round fills at least one more image, so I rounds suffice."""
    # An image without weight gets tokens only once all others are full.
    weights_BI = weights_BI.clamp_min(1e-12 * weights_BI.amax(1, keepdim=True).clamp_min(1e-3))
    weights_BI = weights_BI * (capacity_BI > 0)
    full_BI = capacity_BI <= 0
    quotas_BI = torch.zeros_like(capacity_BI)
    for _ in range(capacity_BI.shape[1]):
        held_B1 = (capacity_BI * full_BI).sum(1, keepdim=True)
        open_BI = weights_BI * ~full_BI
        share_BI = open_BI / open_BI.sum(1, keepdim=True).clamp_min(1e-300)
        quotas_BI = capacity_BI.where(full_BI, share_BI * (total - held_B1))
        full_BI = full_BI | (quotas_BI >= capacity_BI)
    return quotas_BI.minimum(capacity_BI)
