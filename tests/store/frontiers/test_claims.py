"""What may be claimed from few examples, against exact tests where they exist."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from store.frontiers.bootstrap import Bootstrap, Floats
from store.frontiers.claims import Claims
from tests.store.comparisons import right_or_wrong


def claims(values: Any, bounded: bool = True, **how: Any) -> Claims:
    values_PSE = np.asarray(values, dtype=np.float64)
    if values_PSE.ndim == 2:
        values_PSE = values_PSE[:, None]
    settings = Bootstrap(**({"resamples": 20_000} | how))
    return Claims(values_PSE, np.arange(values_PSE.shape[2]), settings, bounded)


@pytest.mark.parametrize("num", [20, 64, 299])
def test_no_difference_seen_is_the_rule_of_three(num: int) -> None:
    low, high = claims(np.ones((2, num)), confidence=0.9).differences(0)
    exact = 1 - 0.05 ** (1 / num)  # what none of `num` rules out one-sided at 95 %
    assert math.isclose(-low[1], exact, rel_tol=0.05)
    assert math.isclose(high[1], exact, rel_tol=0.05)


@pytest.mark.parametrize("lost", range(1, 10))
def test_differences_one_way_are_the_sign_test(lost: int) -> None:
    worse = np.ones(60)
    worse[:lost] = 0
    groups = claims([np.ones(60), worse]).groups(np.arange(2), np.array([1, worse.mean()]), 1)
    p = 2 * 0.5**lost
    assert groups.tolist() == ([1, 2] if p < 0.05 else [1, 1])


def test_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9, 0.98):
        samples = right_or_wrong(rng, 500, 40, share=share)
        low, high = claims(samples, resamples=1000).intervals()
        assert ((low <= share) & (share <= high)).mean() > 0.94


def test_intervals_shrink_with_examples_and_grow_with_confidence() -> None:
    rng = np.random.default_rng(1)
    few, many = right_or_wrong(rng, 1, 50), right_or_wrong(rng, 1, 5000)

    def width(values: Floats, confidence: float) -> float:
        low, high = claims(values, resamples=2000, confidence=confidence).intervals()
        return float(high[0] - low[0])

    assert width(many, 0.95) < width(few, 0.95) / 5
    assert width(few, 0.99) > width(few, 0.9)


def test_unbounded_outcomes_take_the_largest_difference_seen() -> None:
    rng = np.random.default_rng(2)
    bits = rng.gamma(2, 1, 300)
    low, high = claims([bits, bits + 0.5, bits], bounded=False).differences(0)
    assert low[1] > 0
    assert high[1] < 0.52
    assert low[2] == high[2] == 0
    tied = claims([bits, bits + 0.5, bits], bounded=False).tied(np.arange(3), 0, -1)
    assert tied.tolist() == [2]


def test_missing_examples_are_compared_where_both_are_there() -> None:
    values = right_or_wrong(np.random.default_rng(3), 2, 100)
    values[1, 50:] = np.nan
    low, high = claims(values).differences(0)
    alone_low, alone_high = claims(values[:, :50]).differences(0)
    mean = (values[1, :50] - values[0, :50]).mean()
    assert low[1] < mean < high[1]
    assert abs((high[1] - low[1]) - (alone_high[1] - alone_low[1])) < 0.05


def test_equal_settings_give_equal_answers() -> None:
    values = right_or_wrong(np.random.default_rng(4), 3, 30)
    one, other = claims(values).intervals(), claims(values).intervals()
    assert np.array_equal(one, other)
    assert not np.array_equal(one, claims(values, random_seed=1).intervals())
