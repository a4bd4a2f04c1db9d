"""Who goes on in a race, on outcomes that are made up: losers stop, nothing sure is dropped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.frontiers.bootstrap import Floats
from store.frontiers.frontier import Objectives
from store.races import racing
from store.races.racing import Configuration, Race, Rules, Runner, configuration
from store.records import Point
from store.serialization import ExampleOutcomes
from tests.store.comparisons import BITS_AND_KV, QUALITY_AND_FLOPS, point

SIZES = (8, 16, 32, 64)


class Played:
    """A race that is given whatever it waits for, and counts it."""

    def __init__(
        self,
        outcomes_PSE: Floats,
        costs: Sequence[float],
        objectives: Objectives = QUALITY_AND_FLOPS,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        order: int = 0,
        whole: Sequence[int] = (),
    ) -> None:
        self.values = outcomes_PSE
        cost = next(name for name in objectives if name != "quality")
        self.points = {
            (f"m{index}", seed): point(f"m{index}", seed, **{cost: costs[index]})
            for index in range(len(outcomes_PSE))
            for seed in range(outcomes_PSE.shape[1])
        }
        self.stored: dict[str, ExampleOutcomes] = {}
        self.evaluated = dict.fromkeys(self.points, 0)
        runners = {name: Runner(configuration(p)) for (name, _), p in self.points.items()}
        for index in whole:
            for seed in range(outcomes_PSE.shape[1]):
                self._give(runners, (f"m{index}", seed), SIZES[-1])
        rng = np.random.default_rng(order)
        while True:
            self.race = self._run(runners, objectives, rules)
            if not self.race.waiting:
                return
            waiting = [(name[0], seed) for name, seed in self.race.waiting]
            for index in rng.permutation(len(waiting)) if order else range(len(waiting)):
                self._give(runners, waiting[index], self.race.examples)

    def _run(self, runners: dict[str, Runner], objectives: Objectives, rules: Rules) -> Race:
        seeds = range(self.values.shape[1])
        return racing.run(list(runners.values()), seeds, SIZES, objectives, self.stored, rules)

    def _give(self, runners: dict[str, Runner], key: tuple[str, int], examples: int) -> None:
        name, seed = key
        whole = self.points[key]
        trial = f"{whole.trial} {examples}"
        metrics = whole.metrics | {"num_examples": examples}
        front: Point = dataclasses.replace(whole, trial=trial, metrics=metrics)
        values = self.values[int(name[1:]), seed, :examples]
        self.stored[trial] = ExampleOutcomes(values, None)
        runners[name].points.setdefault(seed, []).append(front)
        self.evaluated[key] = examples

    def examples(self, index: int) -> int:
        return self.evaluated[f"m{index}", 0]

    def verdict(self, index: int) -> str:
        return self._place(index).verdict

    def rival(self, index: int) -> Configuration | None:
        return self._place(index).rival

    def _place(self, index: int) -> racing.Place:
        return self.race.places[configuration(self.points[f"m{index}", 0])]


def shares(*means: float, seeds: int = 2, random_seed: int = 0) -> Floats:
    """Outcomes of 0 and 1 that are 1 so often."""
    rng = np.random.default_rng(random_seed)
    draws = rng.random((len(means), seeds, SIZES[-1]))
    return (draws < np.array(means)[:, None, None]).astype(np.float64)


def test_a_clear_loser_stops_at_the_first_rung_and_says_to_whom() -> None:
    played = Played(shares(0.95, 0.1, 0.5), [0.2, 0.5, 0.1])
    assert played.verdict(1) == "out"
    assert played.examples(1) == SIZES[0]
    assert played.rival(1) == configuration(played.points["m0", 0])


def test_what_is_open_gets_every_example() -> None:
    played = Played(shares(0.5, 0.55, random_seed=3), [0.2, 0.3])
    assert [played.examples(0), played.examples(1)] == [SIZES[-1]] * 2


def test_a_race_ends_where_everything_is_settled() -> None:
    played = Played(shares(0.05, 0.99), [0.1, 0.9])
    assert [played.verdict(index) for index in (0, 1)] == ["in", "in"]
    assert max(played.evaluated.values()) < SIZES[-1]


def test_of_equals_not_all_are_dropped() -> None:
    """Each of forty is unlikely to be the best, and yet one of them is."""
    played = Played(np.repeat(shares(0.5), 40, axis=0), [0.5] * 40)
    assert any(played.verdict(index) != "out" for index in range(40))
    cheap = Played(shares(*[0.5] * 40), [0.5] * 40)
    assert any(cheap.verdict(index) != "out" for index in range(40))


def test_minimised_outcomes_race_too() -> None:
    bits = 2 + 0.3 * np.random.default_rng(0).standard_normal((3, 1, SIZES[-1]))
    bits[1] += 3
    bits[2] -= 1
    played = Played(bits, [0.2, 0.5, 0.9], BITS_AND_KV)
    assert [played.verdict(index) for index in range(3)] == ["in", "out", "in"]
    assert played.examples(1) == SIZES[0]


def test_what_cannot_reach_a_cheaper_one_any_more_stops_for_sure() -> None:
    """A rival that has everything right and costs less, measured whole by an earlier sweep."""
    values = np.stack([np.ones((1, 64)), np.r_[0.0, np.ones(63)][None]])
    played = Played(values, [0.2, 0.5], rules=Rules(confidence=0.9999), whole=[0])
    place = played.race.places[configuration(played.points["m1", 0])]
    assert (place.verdict, place.for_sure) == ("out", True)
    assert played.examples(1) == SIZES[0]


def test_a_seed_that_failed_is_not_waited_for() -> None:
    runner = Runner(("m", "{}", 0.5, "uniform"), lost={0})
    race = racing.run([runner], [0, 1], SIZES, QUALITY_AND_FLOPS, {}, Rules())
    assert race.waiting == ((runner.configuration, 1),)
    runner.lost.add(1)
    (place,) = racing.run([runner], [0, 1], SIZES, QUALITY_AND_FLOPS, {}, Rules()).places.values()
    assert (place.verdict, place.rival) == ("out", None)


def test_a_race_in_which_everybody_lacks_a_cost_ends_with_nobody() -> None:
    played = Played(shares(0.9, 0.5), [math.nan, math.nan])
    assert [played.verdict(index) for index in (0, 1)] == ["out", "out"]


@given(
    means=st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]), min_size=2, max_size=8),
    costs=st.lists(st.sampled_from([0.1, 0.2, 0.4, 0.8]), min_size=8, max_size=8),
    random_seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_dropped_that_nothing_beats_on_what_it_saw(
    means: list[float], costs: list[float], random_seed: int
) -> None:
    """Best of those that cost no more, by more than ties: it stays until the end."""
    values = shares(*means, random_seed=random_seed)
    played = Played(values, costs)
    average = values.mean(axis=1)
    for index in range(len(means)):
        others = [i for i in range(len(means)) if i != index and costs[i] <= costs[index]]
        ahead = all(np.all(average[index] >= average[other] + 1e-9) for other in others)
        if ahead:
            assert played.verdict(index) != "out"
    left = [index for index in range(len(means)) if played.verdict(index) != "out"]
    assert left, "somebody is on every frontier"


@given(st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_the_order_in_which_results_arrive_changes_nothing(order: int) -> None:
    values, costs = shares(0.9, 0.85, 0.5, 0.6, 0.2), [0.5, 0.3, 0.3, 0.2, 0.1]
    first, other = Played(values, costs), Played(values, costs, order=1 + order)
    assert first.evaluated == other.evaluated
    assert first.race.places == other.race.places


@pytest.mark.parametrize("changed", [{"epsilon": 0.2}, {"confidence": 0.6}])
def test_looser_rules_stop_sooner(changed: dict[str, Any]) -> None:
    values, costs = shares(0.9, 0.8, 0.85, 0.7, seeds=1), [0.5, 0.3, 0.4, 0.2]
    strict = Played(values, costs, rules=Rules(epsilon=0.0, confidence=0.99))
    loose = Played(values, costs, rules=dataclasses.replace(strict_rules(), **changed))
    assert sum(loose.evaluated.values()) < sum(strict.evaluated.values())


def strict_rules() -> Rules:
    return Rules(epsilon=0.0, confidence=0.99)
