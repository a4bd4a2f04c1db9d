"""Questions for one configuration, answered right on workloads where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from store.frontiers.paired import UnanswerableError
from store.questions.best import Limits, best
from store.questions.knee import heights, knee
from store.questions.loss import Loss, provable
from tests.store.comparisons import BITS_AND_KV, flops, paired, resampled, right_or_wrong

NUM = 400
RNG = np.random.default_rng(0)
BASE = right_or_wrong(RNG, NUM, share=0.9)
NEAR = BASE.copy()
NEAR[np.flatnonzero(BASE)[:1]] = 0  # breaks one example
POOR = right_or_wrong(RNG, NUM, share=0.5)
METHODS = ["identity", "near", "poor", "twin"]
TABLE = paired(
    [BASE, NEAR, POOR, NEAR],
    [
        {"flops": 1.0, "kv": 1.0, "latency": 1.0, "latency_high": 1.1},
        {"flops": 0.5, "kv": 0.6, "latency": 0.8, "latency_high": 0.9},
        {"flops": 0.2, "kv": 0.2, "latency": 0.4, "latency_high": 0.6},
        {"flops": 0.6, "kv": 0.3, "latency": 0.5, "latency_high": 0.7},
    ],
    method=METHODS,
)


def name(index: int | None) -> str | None:
    return None if index is None else METHODS[index]


def test_best_quality_within_a_budget() -> None:
    found = best(resampled(TABLE), "quality", Limits({"flops": 0.55}, {}))
    assert (name(found.chosen), found.eligible, found.probability) == ("near", 2, 1.0)
    assert found.ties == ()


def test_equal_quality_goes_to_the_cheaper_and_the_other_ties() -> None:
    found = best(resampled(TABLE), "quality", Limits({"flops": 0.9}, {}))
    assert name(found.chosen) == "near"
    assert [name(index) for index in found.ties] == ["twin"]
    assert found.probability == 1.0


def test_cheapest_within_a_loss_that_is_sure() -> None:
    found = best(resampled(TABLE), "flops", Limits({}, {}, Loss.parse("3%")))
    assert (name(found.chosen), found.eligible) == ("near", 3)
    assert found.sure is not None
    assert found.sure_of_all is not None
    assert found.sure >= found.sure_of_all > 0.9


def test_a_loss_that_few_examples_cannot_rule_out_leaves_the_baseline() -> None:
    few = paired([BASE[:60], BASE[:60]], flops(1.0, 0.5), method=["identity", "same"])
    found = best(resampled(few), "flops", Limits({}, {}, Loss.parse("0.01")))
    assert (found.chosen, found.eligible) == (0, 1)
    smallest = provable(few, 0.95)
    assert smallest is not None
    assert smallest > 0.04
    enough = Loss(smallest + 0.02, relative=False)
    assert best(resampled(few), "flops", Limits({}, {}, enough)).chosen == 1


def test_smallest_cache_below_a_latency() -> None:
    found = best(resampled(TABLE), "kv", Limits({"latency_high": 0.7}, {"quality": 0.8}))
    assert name(found.chosen) == "twin"
    assert found.probability is None


def test_bounds_hold_for_no_simulated_cost() -> None:
    table = paired(
        [BASE, BASE], flops(0.2, 0.4), method=["masked", "real"], simulated_json=['["flops"]', "[]"]
    )
    assert best(resampled(table), "quality", Limits({"flops": 0.5}, {})).chosen == 1
    assert best(resampled(table), "flops", Limits({}, {})).chosen == 1


def test_nothing_within_limits_names_the_nearest() -> None:
    found = best(resampled(TABLE), "quality", Limits({"flops": 0.15}, {}))
    assert (found.chosen, found.eligible, name(found.nearest)) == (None, 0, "poor")
    strict = Limits({"flops": 0.55}, {}, Loss.parse("0.0001%"))
    assert name(best(resampled(TABLE), "flops", strict).nearest) == "near"


def test_minimised_qualities_lose_upwards() -> None:
    bits = RNG.gamma(4, 0.5, NUM)
    costs = [{"kv": value} for value in (1.0, 0.5, 0.25)]
    table = paired([bits, bits * 1.005, bits * 1.1], costs, BITS_AND_KV, method=METHODS[:3])
    assert name(best(resampled(table), "kv", Limits({}, {}, Loss.parse("1%"))).chosen) == "near"
    assert name(best(resampled(table), "quality", Limits({}, {})).chosen) == "identity"
    assert provable(table, 0.95) is None


def test_the_choice_among_many_lowers_the_confidence() -> None:
    rng = np.random.default_rng(5)
    base = right_or_wrong(rng, 200, share=0.8)
    flips = rng.random((40, 200)) < 0.06
    noisy = np.where(flips, 1 - base, base)
    costs = flops(1.0, *np.linspace(0.1, 0.9, 40))
    table = paired([base, *noisy], costs, method=["identity", *(f"n{i}" for i in range(40))])
    found = best(resampled(table), "flops", Limits({}, {}, Loss.parse("0.06")))
    assert found.sure is not None
    assert found.sure_of_all is not None
    assert found.sure_of_all < found.sure - 0.01


def test_choosing_among_many_that_lose_too_much_errs_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(6)
    names = ["identity", *(f"n{i}" for i in range(20))]
    costs = flops(1.0, *np.linspace(0.1, 0.9, 20))
    taken = claimed = 0
    for _ in range(40):
        base = right_or_wrong(rng, 100, share=0.9)
        lost = rng.random((20, 100)) < 0.101  # just more than the 10 % allowed
        table = paired([base, *np.where(lost, 0.0, base)], costs, method=names)
        found = best(resampled(table), "flops", Limits({}, {}, Loss.parse("10%")))
        taken += found.chosen != 0
        claimed += found.chosen != 0 and (found.sure_of_all or 0) >= 0.95
    assert taken > 10  # each of twenty is judged on its own
    assert claimed <= 4


@pytest.mark.parametrize("text", ["1x", "", "%", "-1%", "1..2", "one"])
def test_a_loss_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'write "1%"'):
        Loss.parse(text)


def test_unknown_metrics_and_missing_baselines_are_sentences() -> None:
    with pytest.raises(ValueError, match="did you mean 'flops'"):
        best(resampled(TABLE), "flop", Limits({}, {}))
    alone = paired([BASE], flops(0.5), method=["near"])
    with pytest.raises(UnanswerableError, match="no uncompressed model"):
        best(resampled(alone), "flops", Limits({}, {}, Loss(0.1, relative=True)))


def test_the_knee_is_the_point_farthest_above_the_line() -> None:
    shares = np.array([0.1, 0.8, 0.85, 0.9])
    outcomes = [(np.arange(100) < 100 * share).astype(float) for share in shares]
    costs = [0.1, 0.3, 0.7, 1.0]
    found = knee(resampled(paired(outcomes, flops(*costs))))
    assert found is not None
    assert found.chosen == 1
    assert found.probability > 0.95
    assert found.height == pytest.approx((0.8 - 0.1) / 0.8 - (0.3 - 0.1) / 0.9)


def test_points_off_the_frontier_are_no_knee() -> None:
    merit = np.array([[0.0], [0.9], [0.95], [1.0], [0.99]])
    cost = np.array([0.0, 0.1, 0.05, 1.0, 1.0])
    found = heights(cost, merit)[:, 0]
    assert found.tolist() == pytest.approx([0, 0, 0.9, 0, 0])


def test_a_straight_frontier_has_no_knee() -> None:
    outcomes = [(np.arange(100) < count).astype(float) for count in (0, 50, 100)]
    assert knee(resampled(paired(outcomes, flops(0.0, 0.5, 1.0)))) is None
    with pytest.raises(UnanswerableError, match="no cost among its objectives"):
        knee(resampled(paired(outcomes, flops(0.0, 0.5, 1.0), {"quality": "maximize"})))
