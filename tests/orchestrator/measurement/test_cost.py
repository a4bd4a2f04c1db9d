"""Costs are counted while the call runs, attention on a CPU included."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from orchestrator.measurement.cost import measure_cost


@pytest.fixture(autouse=True)
def _no_grad():  # type: ignore[no-untyped-def]
    with torch.no_grad():
        yield


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 1, 10, 10)], ids=["fused", "masked"])
def test_attention_costs_two_products(mask: torch.Tensor | None) -> None:
    q = torch.randn(2, 4, 10, 8)
    cost = measure_cost(lambda: functional.scaled_dot_product_attention(q, q, q, attn_mask=mask))
    assert cost.flops == 2 * (2 * 2 * 4 * 10 * 10 * 8)


@pytest.mark.parametrize("num_tokens", [10, 40], ids=["direct", "by-product"])
def test_pairwise_distances_are_not_free(num_tokens: int) -> None:
    x = torch.randn(3, num_tokens, 8)
    assert measure_cost(lambda: torch.cdist(x, x)).flops == 2 * 3 * num_tokens**2 * 8


def test_peak_is_the_largest_sum_alive_at_once() -> None:
    def call() -> torch.Tensor:
        first = torch.zeros(1000)
        second = first + 1
        del first
        return second.view(10, 100) * 2

    assert measure_cost(call).peak_bytes == 2 * 4000


def test_memory_that_existed_before_is_not_counted() -> None:
    weights = torch.zeros(1000)
    assert measure_cost(lambda: weights.mul_(2).view(10, 100)).peak_bytes == 0
