"""Rounding shares of one budget to whole tokens that add up to it."""

from __future__ import annotations

from torch import Tensor


def largest_remainders(quotas_BI: Tensor, total: int) -> Tensor:
    """Every quota rounded down or up, so that a row adds up to ``total``, long [B, I].

    The quotas (float64, not negative) of a row do so already, up to the last bits of a quotient,
    which must not decide between equal remainders: ties are settled for the earlier one.
    """
    quotas_BI = quotas_BI.round(decimals=9)
    whole_BI = quotas_BI.floor()
    missing_B1 = total - whole_BI.sum(1, keepdim=True)
    remainders_BI = (quotas_BI - whole_BI).round(decimals=8)
    order_BI = remainders_BI.argsort(dim=1, descending=True, stable=True)
    return whole_BI.long() + (order_BI.argsort(1) < missing_B1).long()
