"""Budgets of images: proportional, within capacity, exact."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.vlm._budgets import exact_budgets
from tests.methods.vlm import plain

quick = settings(derandomize=True, max_examples=200, deadline=None, database=None)


@st.composite
def divisions(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    images = draw(st.integers(1, 6))
    weights = draw(st.lists(st.integers(1, 9), min_size=images, max_size=images))
    capacity = draw(st.lists(st.integers(0, 9), min_size=images, max_size=images))
    return weights, capacity, draw(st.integers(0, sum(capacity)))


@quick
@given(divisions())
def test_budgets_are_largest_remainders_under_capacities(
    division: tuple[list[int], list[int], int],
) -> None:
    weights, capacity, total = division
    found_BI = exact_budgets(torch.tensor([weights]), torch.tensor([capacity]), total)
    expected = plain.budgets([float(weight) for weight in weights], capacity, total)
    assert found_BI.sum() == total
    assert (found_BI <= torch.tensor(capacity)).all()
    assert found_BI[0].tolist() == expected


def test_an_image_without_weight_gets_what_others_cannot_hold() -> None:
    budgets_BI = exact_budgets(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[4, 5, 4]]), 9)
    assert budgets_BI.tolist() == [[2, 5, 2]]
    unweighted_BI = exact_budgets(torch.zeros(1, 3), torch.tensor([[4, 5, 4]]), 6)
    assert unweighted_BI.tolist() == [[2, 2, 2]]


def test_examples_are_divided_on_their_own() -> None:
    weights_BI, capacity_BI = torch.tensor([[1.0, 3.0], [3.0, 1.0]]), torch.tensor([[8, 8], [2, 8]])
    assert exact_budgets(weights_BI, capacity_BI, 8).tolist() == [[2, 6], [2, 6]]
