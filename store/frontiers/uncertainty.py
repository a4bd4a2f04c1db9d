"""The frontier with its uncertainty: how likely each configuration is on it, and who ties.

In every resample of the examples the frontier is taken anew, exactly; the share of resamples in
which a configuration is on it is its probability. Costs are measured, not estimated from examples,
and stay as they are. Hence who could beat whom by cost is known beforehand: configurations are
visited from cheap to dear, and each needs only the best quality among those directly below it. One
objective besides quality makes that a running maximum; any number of them works the same way.

``epsilon`` dominance (Laumanns et al. 2002, *Combining convergence and diversity in evolutionary
multiobjective optimization*) in quality: a configuration is beaten by a cheaper one already if that
is at most ``epsilon`` worse, so that what is left buys more than ``epsilon`` for its cost. We apply
it pair by pair, without their archive.

Intervals, and who can be told apart, are the cautious claims of :mod:`store.frontiers.claims`.

Shapes: P configurations, K costs, G distinct cost vectors, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from store.frontiers.bootstrap import Flags, Floats, Ints
from store.frontiers.frontier import SeedGroup, objective_values
from store.frontiers.paired import Paired, Resampled, UnanswerableError
from sweeps.metrics import QUALITY, Direction

Verdict = Literal["in", "open", "out"]
ROUNDING: Final = 1e-9
"""Differences below this share of the largest quality are rounding."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A configuration, and how sure its place is."""

    configuration: SeedGroup
    quality: float
    """Mean outcome over all seeds and examples."""
    low: float
    high: float
    """Ends of its interval."""
    difference: tuple[float, float] | None
    """Interval of the paired difference to the uncompressed model; None if there is none."""
    on_frontier: bool
    """By the means alone."""
    probability: float
    """Share of the resamples in which it is on the frontier."""
    verdict: Verdict
    """Whether it is on the frontier or off it with the confidence asked for, or still open."""
    group: int | None
    """Those with equal numbers cannot be told apart in quality; 1 is the best. None when out."""


def judge(resampled: Resampled, epsilon: float = 0.0, among: Flags | None = None) -> list[Judged]:
    """Every configuration that has a measured value for each objective, in the sweep's order.

    ``epsilon`` is in the unit of quality. With ``among`` [P] only these take part. Raises
    ValueError for a negative epsilon.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon is a difference in quality, 0 or more; got {epsilon}")
    paired, how = resampled.paired, resampled.how
    complete = competitors(paired)
    if among is not None:
        complete = complete[among[complete]]
    probability, on = _probabilities(resampled, complete, epsilon)
    observed = paired.means[complete]
    low, high = (end[complete] for end in resampled.claims.intervals())
    difference = _differences(resampled, complete)
    verdicts = [verdict_of(p, how.confidence) for p in probability]
    alive = np.array([verdict != "out" for verdict in verdicts], dtype=bool)
    merit_P = paired.sign * observed[alive]
    numbers = np.zeros(len(complete), dtype=np.int64)
    numbers[alive] = resampled.claims.groups(complete[alive], merit_P, paired.sign)
    return [
        Judged(
            configuration=paired.configurations[index],
            quality=float(observed[i]),
            low=float(low[i]),
            high=float(high[i]),
            difference=difference[i],
            on_frontier=bool(on[i]),
            probability=float(probability[i]),
            verdict=verdicts[i],
            group=int(numbers[i]) or None,
        )
        for i, index in enumerate(complete)
    ]


def competitors(paired: Paired) -> Ints:
    """Indices of the configurations with outcomes and a real value for every cost."""
    _, complete = objective_values(paired.configurations, _costs(paired))
    return np.flatnonzero(complete & np.isfinite(paired.means))


def oriented_costs(paired: Paired, members: Ints) -> Floats:
    """Objectives besides quality [P, K], turned so that less is better."""
    costs = _costs(paired)
    values, _ = objective_values([paired.configurations[i] for i in members], costs)
    return values * [1 if direction == "minimize" else -1 for direction in costs.values()]


def on_frontier(costs_PK: Floats, merit_PR: Floats, epsilon: float = 0.0) -> Flags:
    """Whether nothing beats a point [P, R]: less cost is better, more merit is.

    Exact for any number of costs. Points that are equal in everything are on it together; a point
    without merit (NaN) is off it.
    """
    if not len(costs_PK):
        return np.zeros(merit_PR.shape, dtype=bool)
    merit_PR = np.where(np.isnan(merit_PR), -np.inf, merit_PR)
    finite = np.abs(merit_PR[np.isfinite(merit_PR)])
    slack = ROUNDING * max(1.0, float(finite.max(initial=0.0)))
    distinct_GK, group_P = np.unique(costs_PK, axis=0, return_inverse=True)
    group_P = group_P.reshape(-1)
    best_GR = _best_of(merit_PR, group_P, len(distinct_GK))
    cheaper_GR = _best_below(distinct_GK, best_GR)
    return np.asarray(
        (merit_PR >= best_GR[group_P] - slack) & (merit_PR > cheaper_GR[group_P] + epsilon + slack)
    )


def _probabilities(resampled: Resampled, members: Ints, epsilon: float) -> tuple[Floats, Flags]:
    """Share of the resamples in which members are on the frontier, and whether by their means."""
    paired = resampled.paired
    quality = np.column_stack([resampled.means[members], paired.means[members]])
    if QUALITY not in paired.objectives:
        quality = np.zeros_like(quality)
    on = on_frontier(oriented_costs(paired, members), paired.sign * quality, epsilon)
    return np.asarray(on[:, :-1].mean(axis=1)), on[:, -1]


def _costs(paired: Paired) -> dict[str, Direction]:
    return {name: way for name, way in paired.objectives.items() if name != QUALITY}


def _best_of(merit_PR: Floats, group_P: Ints, num_groups: int) -> Floats:
    """The largest merit of each group [G, R]."""
    order = np.argsort(group_P, kind="stable")
    starts = np.searchsorted(group_P[order], np.arange(num_groups))
    return np.maximum.reduceat(merit_PR[order], starts, axis=0)


def _best_below(costs_GK: Floats, best_GR: Floats) -> Floats:
    """The largest merit among what costs less somewhere and nowhere more [G, R].

    ``costs_GK`` are distinct and sorted by the first cost, then the second and so on: whatever
    costs less than a row stands above it.
    """
    below_GR = np.full_like(best_GR, -np.inf)
    upto_GR = best_GR.copy()
    for row, direct in enumerate(_directly_below(costs_GK)):
        if len(direct):
            below_GR[row] = upto_GR[direct].max(axis=0)
            np.maximum(upto_GR[row], below_GR[row], out=upto_GR[row])
    return below_GR


def _directly_below(costs_GK: Floats) -> Iterator[Ints]:
    """For every row those above it that cost no more, but for those that one of them covers."""
    num_rows, num_costs = costs_GK.shape
    if num_costs < 2:
        yield from (np.arange(max(row - 1, 0), row) for row in range(num_rows))
        return
    dearest = _dearest_of_two if num_costs == 2 else _dearest
    for row in range(num_rows):
        below = np.flatnonzero((costs_GK[:row, 1:] <= costs_GK[row, 1:]).all(axis=1))
        yield below[dearest(costs_GK[below])] if len(below) > 1 else below


def _dearest_of_two(costs_G2: Floats) -> Flags:
    """Rows that no row below them costs at least as much as in the second cost, too."""
    second_G = costs_G2[::-1, 1]
    highest_G = np.maximum.accumulate(second_G)
    return np.concatenate([[True], second_G[1:] > highest_G[:-1]])[::-1]


def _dearest(costs_GK: Floats) -> Flags:
    """Rows that no other row costs at least as much as in everything."""
    import moocore

    return np.asarray(moocore.is_nondominated(costs_GK, maximise=True))


def _differences(resampled: Resampled, members: Ints) -> list[tuple[float, float] | None]:
    try:
        ends = resampled.claims.differences(resampled.paired.baseline)
    except UnanswerableError:
        return [None] * len(members)
    low_P, high_P = (end[members] for end in ends)
    return [(float(low), float(high)) for low, high in zip(low_P, high_P, strict=True)]


def verdict_of(probability: float, confidence: float) -> Verdict:
    """What a probability of being on the frontier says."""
    if probability >= confidence:
        return "in"
    return "out" if probability <= 1 - confidence else "open"
