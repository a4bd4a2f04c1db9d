"""Whole tokens out of shares of a budget."""

from __future__ import annotations

from fractions import Fraction

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.apportioning import largest_remainders

quick = settings(derandomize=True, max_examples=300, deadline=None, database=None)


def plain(quotas: list[Fraction]) -> list[int]:
    """Rounded by exact fractions."""
    rounded = [int(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda i: rounded[i] - quotas[i])
    for i in order[: int(sum(quotas)) - sum(rounded)]:
        rounded[i] += 1
    return rounded


@quick
@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.integers(0, 20))
def test_remainders_are_compared_as_fractions_not_as_floats(won: list[int], floor: int) -> None:
    even, share = Fraction(sum(won), len(won)), Fraction(floor, 20)
    expected = plain([(1 - share) * each + share * even for each in won])
    floats_I = (1 - floor / 20) * torch.tensor(won).double() + floor / 20 * float(even)
    rounded_1I = largest_remainders(floats_I[None], sum(won))
    assert rounded_1I[0].tolist() == expected
    assert rounded_1I.sum() == sum(won)


def test_rows_are_rounded_on_their_own() -> None:
    quotas_BI = torch.tensor([[0.5, 0.5, 1.0], [0.2, 0.9, 0.9]]).double()
    assert largest_remainders(quotas_BI, 2).tolist() == [[1, 0, 1], [0, 1, 1]]
