"""Outliers by the interquartile range, as box plots draw them."""

from __future__ import annotations

import torch
from torch import Tensor


def outliers(values_BIP: Tensor) -> Tensor:
    """Values above the third quartile by more than 1.5 interquartile ranges, bool [B, I, P]."""
    quarters = torch.tensor([0.25, 0.75], device=values_BIP.device)
    first_BI, third_BI = values_BIP.float().quantile(quarters, dim=-1)
    bound_BI = third_BI + 1.5 * (third_BI - first_BI)
    above_BIP: Tensor = values_BIP > bound_BI[..., None]
    return above_BIP
