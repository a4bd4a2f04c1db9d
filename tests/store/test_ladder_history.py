"""Areas and oracles by hand; hypervolume over time against the library, prefix by prefix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.frontiers.paired import Paired, UnanswerableError
from store.questions.history import enlargements, history
from store.questions.ladder import rank, rungs_of, shares
from tests.store.comparisons import BITS_AND_KV, flops, paired, resampled, right_or_wrong

RUNGS = (0.5, 0.25, 0.125, 0.0625)


def ladder(outcomes: np.ndarray, keeps: tuple[float, ...] = RUNGS, **fields: object) -> Paired:
    """Methods m0, m1 ... at every rung from outcomes [M, L, E]."""
    num_methods, num_rungs, _ = outcomes.shape
    methods = [f"m{m}" for m in range(num_methods) for _ in range(num_rungs)]
    return paired(
        outcomes.reshape(num_methods * num_rungs, -1),
        flops(*keeps * num_methods),
        method=methods,
        keep_ratio=keeps * num_methods,
    )


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6, unique_by=lambda r: round(r, 4)))
def test_shares_are_trapezia_over_the_logarithm(ratios: list[float]) -> None:
    rungs = sorted(ratios, reverse=True)
    quality = np.random.default_rng(0).random(len(rungs))
    places = -np.log2(rungs)
    area = np.trapezoid(quality, places) / (places[-1] - places[0])
    assert float(shares(rungs) @ quality) == pytest.approx(area)


def test_methods_are_ranked_by_their_area_with_the_oracles_gap() -> None:
    # Two examples: the first is right down to 0.25, the second only at 0.5 and, oddly, at 0.0625.
    one = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], dtype=float)
    outcomes = np.stack([one, np.zeros((4, 2))])
    first, second = rank(resampled(ladder(outcomes))).methods
    assert (first.method, second.method) == ("m0", "m1")
    assert first.qualities == (1.0, 0.5, 0.0, 0.5)
    assert first.area == pytest.approx((1 / 2 + 0.5 + 0.0 + 0.5 / 2) / 3)
    assert first.oracle == 1.0
    assert first.oracle_keep == pytest.approx((0.25 + 0.0625) / 2)
    assert first.oracle_gap == 0.0  # keeping half is right for both
    assert first.method_gap == 0.0
    assert second.method_gap == pytest.approx(first.area)
    assert (second.oracle, second.oracle_keep) == (0.0, 0.0625)


def test_minimised_areas_rank_downwards() -> None:
    bits = np.random.default_rng(0).gamma(3, 1, (1, 4, 50))
    table = ladder(np.concatenate([bits + 1, bits]))
    turned = Paired(**{**vars(table), "objectives": BITS_AND_KV})
    ranking = rank(resampled(turned))
    assert [each.method for each in ranking.methods] == ["m1", "m0"]
    best, worst = ranking.methods
    assert worst.area == pytest.approx(best.area + 1)
    assert best.oracle_gap >= 0
    assert best.oracle <= min(best.qualities)
    assert (best.group, worst.group) == (1, 2)
    assert worst.low < worst.area < worst.high


def test_methods_without_a_rung_are_left_out() -> None:
    outcomes = right_or_wrong(np.random.default_rng(0), 1, 4, 20)
    whole = ladder(outcomes)
    assert rungs_of(whole) == RUNGS
    ranking = rank(resampled(whole), (0.5, 0.3))
    assert ranking.methods == ()
    assert ranking.left_out == (("m0", "{}", "uniform"),)


def test_a_sweep_with_other_ratios_has_its_own_ladder() -> None:
    own = (0.2, 0.05)
    table = ladder(right_or_wrong(np.random.default_rng(0), 2, 2, 20), own)
    assert rungs_of(table) == own
    assert rank(resampled(table)).rungs == own


def test_ladders_need_two_rungs() -> None:
    table = ladder(right_or_wrong(np.random.default_rng(0), 2, 1, 20), (0.3,))
    with pytest.raises(UnanswerableError, match="no two keep ratios"):
        rank(resampled(table))
    with pytest.raises(ValueError, match="at least two keep ratios"):
        rank(resampled(table), (0.5, 1.5))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_volumes_over_time_are_those_of_every_prefix(rows: list[tuple[int, int, int]]) -> None:
    values, corner = np.array(rows, dtype=float).reshape(-1, 3), np.full(3, 5.0)
    found = dict(enlargements(values, corner))
    volume = 0.0
    for place in range(len(values)):
        volume = found.get(place, volume)
        inside = values[: place + 1][(values[: place + 1] < corner).all(axis=1)]
        whole = float(moocore.hypervolume(inside, ref=corner)) if len(inside) else 0.0
        assert volume == pytest.approx(whole)


BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_configuration_counts_when_its_last_seed_has_finished() -> None:
    outcomes = np.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    table = paired(outcomes, flops(0.5, 0.75))
    ends = {"m0-0.5-0": 10, "m0-0.5-1": 40, "m1-0.5-0": 20, "m1-0.5-1": 30}
    times = {trial: (BEGAN, BEGAN + timedelta(seconds=end)) for trial, end in ends.items()}
    found = history(table, times)
    assert found.corner == {"quality": 0.0, "flops": 1.0}
    assert [(step.seconds, step.configurations, step.index) for step in found.steps] == [
        (30.0, 1, 1),
        (40.0, 2, 0),
    ]
    volumes = [step.volume for step in found.steps]
    assert volumes == pytest.approx([0.25, 0.25 + 0.25 * 0.25])


def test_a_corner_of_ones_own_makes_curves_comparable() -> None:
    table = paired([[1.0, 0.0]], flops(0.5))
    times = {"m0-0.5-0": (BEGAN, BEGAN + timedelta(seconds=1))}
    found = history(table, times, {"flops": 2.0, "quality": 0.25})
    assert found.steps[-1].volume == pytest.approx((2.0 - 0.5) * (0.5 - 0.25))
    assert history(table, times, {"quality": 0.5}).steps == ()
    with pytest.raises(ValueError, match="did you mean 'flops'"):
        history(table, times, {"flop": 2.0})
