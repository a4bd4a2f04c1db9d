"""Masks under which tokens read what a compressed cache holds.

Shapes: B sequences, H query heads, K key/value heads, Q tokens fed at once, S entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reading_mask(query: Tensor, key: Tensor, size_bias: Tensor | None) -> Tensor | None:
    """All held entries are visible, new tokens only to themselves and later ones.

    Transformers makes one mask, for the first layer's length; layers may hold different numbers.
    """
    num_new, num_entries = query.shape[2], key.shape[2]
    if num_new == 1 and size_bias is None:
        return None
    if num_new == 1 and size_bias is not None:
        return nn.functional.pad(size_bias, (0, num_entries - size_bias.shape[-1]))
    visible_QS = torch.ones(num_new, num_entries, dtype=torch.bool, device=query.device).tril(
        num_entries - num_new
    )
    if size_bias is None:
        return visible_QS[None, None]
    missing = num_entries - size_bias.shape[-1]
    bias_BH1S = nn.functional.pad(size_bias, (0, missing))
    return bias_BH1S.masked_fill(~visible_QS, float("-inf"))


def hiding(padding_BKS: Tensor, query: Tensor) -> Tensor:
    """Additive mask [B, H, 1, S] that hides the padding of heads that hold fewer entries."""
    bias_BKS = torch.zeros_like(padding_BKS, dtype=query.dtype)
    return per_query_head(bias_BKS.masked_fill(padding_BKS, float("-inf")), query)


def per_query_head(bias_BKS: Tensor, query: Tensor) -> Tensor:
    """A bias per key/value head for all query heads that share it, [B, H, 1, S]."""
    group = query.shape[1] // bias_BKS.shape[1]
    return bias_BKS.repeat_interleave(group, dim=1)[:, :, None].to(query.dtype)
