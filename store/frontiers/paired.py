"""Outcomes of a workload's configurations side by side: the same examples, the same seeds.

A comparison is paired only over what all its configurations share. Where a sweep is not finished,
some have more seeds than others; then those seeds are compared that use the most trials, and
configurations without them are left out and named.

Shapes: P configurations, S seeds, E examples.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from store.frontiers.bootstrap import (
    Bootstrap,
    Draws,
    Floats,
    Ints,
    draw,
    observed_means,
    resampled_means,
)
from store.frontiers.claims import Claims
from store.frontiers.frontier import Objectives, SeedGroup, across_seeds, longest
from store.records import Point
from store.repository import Store
from store.serialization import ExampleOutcomes
from sweeps.metrics import QUALITY, Direction
from sweeps.trial import BASELINE

T = TypeVar("T")


class UnanswerableError(ValueError):
    """A question that makes sense, but not to what this workload measured."""


@dataclass(frozen=True)
class Paired:
    """Configurations of one workload with their outcomes."""

    workload: str
    objectives: Objectives
    """In the order of the sweep file."""
    configurations: tuple[SeedGroup, ...]
    """All that finished on every one of ``seeds``; means are over these."""
    seeds: tuple[int, ...]
    outcomes_PSE: Floats
    """NaN where an example was not evaluated."""
    clusters_E: Ints
    """Which examples hang together, numbered from 0."""
    left_out: tuple[SeedGroup, ...]
    """Configurations that lack one of ``seeds``."""
    stopped: tuple[SeedGroup, ...] = ()
    """Configurations that a race stopped before they saw all examples."""

    @property
    def direction(self) -> Direction:
        """Which outcomes are better."""
        return self.objectives.get(QUALITY, "maximize")

    @property
    def sign(self) -> int:
        """Outcomes times this are better where they are larger."""
        return 1 if self.direction == "maximize" else -1

    @property
    def cost(self) -> str | None:
        """The first objective besides quality."""
        return next((name for name in self.objectives if name != QUALITY), None)

    @property
    def baseline(self) -> int:
        """Index of the uncompressed model. Raises UnanswerableError where it was not measured."""
        for index, each in enumerate(self.configurations):
            if each.method == BASELINE and each.keep_ratio == 1:
                return index
        if any(each.method == BASELINE and each.keep_ratio == 1 for each in self.stopped):
            raise UnanswerableError(
                f"the race of {self.workload!r} stopped the uncompressed model before it saw all "
                "examples: a sweep with search: grid measures what is left, and can compare"
            )
        raise UnanswerableError(
            f"workload {self.workload!r} has no uncompressed model to compare with: add keep ratio "
            f"1.0 or method {BASELINE!r} to the sweep"
        )

    @cached_property
    def means(self) -> Floats:
        """Mean outcome of every configuration [P]."""
        return observed_means(self.outcomes_PSE)


@dataclass(frozen=True)
class Resampled:
    """Paired outcomes with the means they would have had on other examples."""

    paired: Paired
    how: Bootstrap

    @cached_property
    def draws(self) -> Draws:
        """What each resample holds; the same for every configuration."""
        return draw(self.paired.clusters_E, len(self.paired.seeds), self.how)

    @cached_property
    def means(self) -> Floats:
        """Mean outcome of every configuration in every resample [P, R]."""
        return resampled_means(self.paired.outcomes_PSE, self.draws)

    @cached_property
    def claims(self) -> Claims:
        """What the examples can show."""
        bounded = self.paired.direction == "maximize"
        return Claims(self.paired.outcomes_PSE, self.paired.clusters_E, self.how, bounded)


def load(store: Store, sweep: str, workload: str | None = None) -> list[Paired]:
    """Every workload of a sweep, or only one, in the sweep's order.

    Raises ValueError for a sweep or workload that does not exist, naming the nearest, where nothing
    has finished yet, and where costs alone were measured.
    """
    objectives = store.objectives(sweep)
    members: dict[str, list[Point]] = {}
    finished = store.points(sweep, workload)
    for point in finished:
        if point.metrics[QUALITY] is not None:
            members.setdefault(point.workload, []).append(point)
    if not finished:
        where = "" if workload is None else f"workload {workload!r} of "
        raise ValueError(f"{where}sweep {sweep!r} has no finished trials yet")
    if not members:
        raise UnanswerableError(
            f"sweep {sweep!r} measured costs alone, without quality: `paretoken frontier {sweep}` "
            "lists them"
        )
    outcomes = store.all_outcomes(point.trial for points in members.values() for point in points)
    return [_fair(points, outcomes, objectives[name]) for name, points in members.items()]


def _fair(
    points: Sequence[Point], outcomes: Mapping[str, ExampleOutcomes], objectives: Objectives
) -> Paired:
    """Those that saw the most examples, side by side; the others were stopped before."""
    whole = longest(points)
    kept = [point for point, chosen in zip(points, whole, strict=True) if chosen]
    if len(kept) == len(points):
        return pair(points, outcomes, objectives)
    paired = pair(kept, outcomes, objectives)
    known = {trial for each in across_seeds(kept) for trial in each.trials}
    stopped = tuple(each for each in across_seeds(points) if not known & set(each.trials))
    return dataclasses.replace(paired, stopped=stopped)


def pair(
    points: Sequence[Point], outcomes: Mapping[str, ExampleOutcomes], objectives: Objectives
) -> Paired:
    """The configurations of one workload, whose trials all have outcomes."""
    groups = across_seeds(points)
    seeds = largest_shared(frozenset(each.seeds) for each in groups)
    chosen = across_seeds([point for point in points if point.seed in seeds])
    kept = tuple(each for each in chosen if seeds <= set(each.seeds))
    order = tuple(sorted(seeds))
    rows = [_by_seed(each, order, outcomes) for each in kept]
    return Paired(
        workload=points[0].workload,
        objectives=objectives,
        configurations=kept,
        seeds=order,
        outcomes_PSE=_stacked(rows),
        clusters_E=_clusters(rows),
        left_out=tuple(each for each in groups if not seeds <= set(each.seeds)),
    )


def largest_shared(sets: Iterable[frozenset[T]]) -> frozenset[T]:
    """The one of ``sets`` whose size times the number of those that contain it is largest.

    Of equals the one that more contain, then the one that comes first.
    """
    counts = Counter(sets)

    def worth(wanted: frozenset[T]) -> tuple[int, int]:
        containing = sum(number for each, number in counts.items() if wanted <= each)
        return containing * len(wanted), containing

    return max(counts, key=worth, default=frozenset())


def _by_seed(
    group: SeedGroup, seeds: Sequence[int], outcomes: Mapping[str, ExampleOutcomes]
) -> list[ExampleOutcomes]:
    trials = dict(zip(group.seeds, group.trials, strict=True))
    return [outcomes[trials[seed]] for seed in seeds]


def _stacked(rows: Sequence[Sequence[ExampleOutcomes]]) -> Floats:
    """Outcomes [P, S, E]; who saw fewer examples saw those at the front."""
    longest = max(len(each.values) for row in rows for each in row)
    stacked = np.full((len(rows), len(rows[0]), longest), np.nan)
    for number, row in enumerate(rows):
        for seed, each in enumerate(row):
            stacked[number, seed, : len(each.values)] = each.values
    return stacked


def _clusters(rows: Sequence[Sequence[ExampleOutcomes]]) -> Ints:
    """Clusters [E] by the longest trial that names them, or every example for itself."""
    longest = max(len(each.values) for row in rows for each in row)
    named = [each.clusters for row in rows for each in row if each.clusters is not None]
    if not any(len(clusters) == longest for clusters in named):
        return np.arange(longest)
    clusters = max(named, key=len)
    numbered: Ints = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
    return numbered
