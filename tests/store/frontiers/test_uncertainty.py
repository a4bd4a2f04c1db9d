"""The frontier's probabilities against the definition, written plainly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.frontiers.bootstrap import Bootstrap, Draws, Floats, draw, resampled_means
from store.frontiers.uncertainty import judge, on_frontier
from tests.store.comparisons import (
    BITS_AND_KV,
    flops,
    paired,
    point,
    resampled,
    right_or_wrong,
)


def plainly_on(costs: list[tuple[float, ...]], merits: list[float], epsilon: float) -> list[bool]:
    """By the definition: nothing that costs less somewhere and nowhere more comes within epsilon,
    and nothing of equal cost is better."""

    def beaten(i: int) -> bool:
        for j in range(len(costs)):
            cheaper = all(a <= b for a, b in zip(costs[j], costs[i], strict=True))
            if costs[j] == costs[i]:
                if merits[j] > merits[i]:
                    return True
            elif cheaper and merits[j] >= merits[i] - epsilon:
                return True
        return False

    return [not np.isnan(merits[i]) and not beaten(i) for i in range(len(costs))]


@st.composite
def comparisons(draw_: st.DrawFn) -> tuple[Floats, Floats]:
    """Costs [P, K] and merits [P, R] on few values, so that ties happen."""
    num_points, num_costs = draw_(st.integers(1, 7)), draw_(st.integers(0, 3))
    grid = st.integers(0, 3)
    costs = [[draw_(grid) for _ in range(num_costs)] for _ in range(num_points)]
    merit = st.one_of(st.just(np.nan), grid.map(lambda value: value / 4))
    merits = [[draw_(merit) for _ in range(3)] for _ in range(num_points)]
    return np.array(costs, dtype=np.float64).reshape(num_points, num_costs), np.array(merits)


@given(comparisons(), st.sampled_from([0.0, 0.25, 0.3]))
def test_the_frontier_is_exact_for_any_number_of_costs(
    comparison: tuple[Floats, Floats], epsilon: float
) -> None:
    costs, merits = comparison
    found = on_frontier(costs, merits, epsilon)
    for resample in range(merits.shape[1]):
        rows = [tuple(row) for row in costs.tolist()]
        expected = plainly_on(rows, merits[:, resample].tolist(), epsilon)
        assert found[:, resample].tolist() == expected


@given(comparisons(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_epsilon_never_lets_a_point_in(
    comparison: tuple[Floats, Floats], one: float, other: float
) -> None:
    small, large = sorted([one, other])
    assert (on_frontier(*comparison, large) <= on_frontier(*comparison, small)).all()


@given(comparisons(), st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(
    comparison: tuple[Floats, Floats], random: Any
) -> None:
    costs, merits = comparison
    order = random.sample(range(len(costs)), len(costs))
    assert (on_frontier(costs[order], merits[order]) == on_frontier(costs, merits)[order]).all()


def slow_means(outcomes: Floats, draws: Draws) -> Floats:
    rows = []
    for of_one in outcomes:
        row = []
        for r, counts in enumerate(draws.examples_RE):
            seeds = np.ones(len(of_one)) if draws.seeds_RS is None else draws.seeds_RS[r]
            total = weight = 0.0
            for s, of_seed in enumerate(of_one):
                for e, value in enumerate(of_seed):
                    if not np.isnan(value):
                        total += seeds[s] * counts[e] * value
                        weight += seeds[s] * counts[e]
            row.append(total / weight if weight else np.nan)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("seeds", ["fixed", "drawn"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_resampled_means_are_means_of_what_was_drawn(seeds: Any, missing: float) -> None:
    rng = np.random.default_rng(0)
    outcomes = rng.random((4, 3, 9))
    outcomes[rng.random(outcomes.shape) < missing] = np.nan
    clusters = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4])
    draws = draw(clusters, 3, Bootstrap(resamples=40, seeds=seeds))
    assert (draws.seeds_RS is None) is (seeds == "fixed")
    np.testing.assert_allclose(resampled_means(outcomes, draws), slow_means(outcomes, draws))


def test_clusters_are_drawn_whole() -> None:
    clusters = np.array([1, 0, 1, 2, 2, 2])
    counts = draw(clusters, 1, Bootstrap(resamples=50)).examples_RE
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 3:] == counts[:, 3:4]).all()
    assert (counts[:, 0] + counts[:, 1] + counts[:, 3] == 3).all()


def test_clustered_examples_make_wider_intervals() -> None:
    rng = np.random.default_rng(1)
    outcomes = np.repeat(right_or_wrong(rng, 1, 20), 10, axis=1)
    costs, clusters = flops(0.5), np.repeat(np.arange(20), 10).tolist()
    widths = [
        judged.high - judged.low
        for named in (None, clusters)
        for judged in judge(resampled(paired(outcomes, costs, clusters=named)))
    ]
    assert widths[1] > 2 * widths[0]


def test_seeds_that_are_drawn_make_wider_intervals() -> None:
    rng = np.random.default_rng(2)
    shares = np.array([0.2, 0.5, 0.9])[:, None]
    outcomes = (rng.random((1, 3, 200)) < shares).astype(float)
    widths = {
        seeds: judge(resampled(paired(outcomes, flops(0.5)), seeds=seeds))[0]
        for seeds in ("fixed", "drawn")
    }
    assert widths["drawn"].high - widths["drawn"].low > 3 * (
        widths["fixed"].high - widths["fixed"].low
    )


@given(st.integers(0, 1000))
def test_probabilities_rise_with_dominance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = right_or_wrong(rng, 4, 12)
    better = np.maximum(outcomes[1], right_or_wrong(rng, 12))
    table = paired([*outcomes, better], flops(0.2, 0.5, 0.5, 0.7, 0.5))
    probability = [each.probability for each in judge(resampled(table, resamples=50))]
    assert probability[4] >= probability[1]


@given(st.integers(0, 1000), st.permutations(range(5)))
def test_probabilities_do_not_depend_on_the_order(seed: int, order: list[int]) -> None:
    outcomes = right_or_wrong(np.random.default_rng(seed), 5, 12)
    costs = flops(0.1, 0.2, 0.2, 0.4, 0.4)
    judged = judge(resampled(paired(outcomes, costs), resamples=50))
    shuffled = judge(
        resampled(paired(outcomes[order], [costs[index] for index in order]), resamples=50)
    )
    assert [each.probability for each in shuffled] == [judged[i].probability for i in order]


def test_a_point_that_is_always_better_and_cheaper_is_alone_on_the_frontier() -> None:
    outcomes = np.array([[1.0] * 30, [0.0] * 30])
    best, worst = judge(resampled(paired(outcomes, flops(0.3, 0.6))))
    assert (best.probability, best.verdict, best.on_frontier) == (1.0, "in", True)
    assert (worst.probability, worst.verdict, worst.on_frontier) == (0.0, "out", False)
    assert (best.group, worst.group) == (1, None)


def test_minimised_qualities_are_the_mirror_image() -> None:
    rng = np.random.default_rng(3)
    losses, kv = rng.random((6, 40)) * 4, [{"kv": value} for value in rng.random(6)]
    mirrored = [{"flops": each["kv"]} for each in kv]
    bits = judge(resampled(paired(losses, kv, BITS_AND_KV)))
    gains = judge(resampled(paired(4 - losses, mirrored)))
    assert [each.probability for each in bits] == [each.probability for each in gains]
    assert [each.on_frontier for each in bits] == [each.on_frontier for each in gains]


def test_simulated_and_missing_costs_have_no_place_on_the_frontier() -> None:
    outcomes = right_or_wrong(np.random.default_rng(0), 3, 20)
    simulated = ["[]", '["flops"]', "[]"]
    table = paired(outcomes, flops(0.5, 0.1, None), simulated_json=simulated)
    assert [each.configuration.method for each in judge(resampled(table))] == ["m0"]


def test_an_example_that_was_not_evaluated_counts_for_nobody() -> None:
    outcomes = np.array([[1.0, 0.0, np.nan, np.nan], [1.0, 1.0, 0.0, 0.0], [np.nan] * 4])
    judged = judge(resampled(paired(outcomes, flops(0.5, 0.6, 0.7))))
    assert [each.quality for each in judged] == [0.5, 0.5]  # the last has no outcome at all
    assert all(0 <= each.low <= each.quality <= each.high <= 1 for each in judged)


def test_objectives_without_quality_leave_nothing_open() -> None:
    outcomes = right_or_wrong(np.random.default_rng(0), 3, 20)
    costs = [{"flops": 0.5, "kv": 0.1}, {"flops": 0.1, "kv": 0.5}, {"flops": 0.5, "kv": 0.5}]
    table = paired(outcomes, costs, {"flops": "minimize", "kv": "minimize"})
    assert [each.probability for each in judge(resampled(table))] == [1.0, 1.0, 0.0]


def test_points_that_cannot_be_told_apart_are_grouped() -> None:
    rng = np.random.default_rng(4)
    base = right_or_wrong(rng, 200, share=0.9)
    twin = base.copy()
    twin[:2] = 1 - twin[:2]
    poor = right_or_wrong(rng, 200, share=0.4)
    groups = [
        each.group for each in judge(resampled(paired([poor, base, twin], flops(0.1, 0.2, 0.3))))
    ]
    assert groups[0] == 2
    assert set(groups[1:]) <= {1, None}


def test_configurations_are_compared_over_the_seeds_that_use_most_trials() -> None:
    from store.frontiers.paired import pair
    from store.serialization import ExampleOutcomes

    points = [point(method, seed) for method in ("a", "b", "c") for seed in (0, 1)]
    points += [point("late", 0), point("odd", 2)]
    outcomes = {each.trial: ExampleOutcomes(np.ones(4), None) for each in points}
    table = pair(points, outcomes, {"quality": "maximize"})
    assert table.seeds == (0, 1)
    assert [each.method for each in table.configurations] == ["a", "b", "c"]
    assert [each.method for each in table.left_out] == ["late", "odd"]
    begun = pair(points[:5:2] + points[1:2] + points[6:], outcomes, {"quality": "maximize"})
    assert begun.seeds == (0,)
    assert [each.method for each in begun.left_out] == ["odd"]


def test_a_negative_epsilon_is_refused() -> None:
    with pytest.raises(ValueError, match="epsilon is a difference in quality"):
        judge(resampled(paired([[1.0, 0.0]], flops(0.5))), epsilon=-0.1)
