"""The knee of a frontier: where paying more begins to buy less.

Quality and the first cost are scaled so that the frontier runs from (0, 0), its cheapest point, to
(1, 1), its best; the knee is the point that lies farthest above the line between them (Das 1999,
*On characterizing the "knee" of the Pareto curve based on normal-boundary intersection*).

Shapes: P configurations, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from store.frontiers.bootstrap import Floats
from store.frontiers.paired import Resampled, UnanswerableError
from store.frontiers.uncertainty import ROUNDING, competitors, on_frontier, oriented_costs


@dataclass(frozen=True, slots=True)
class Knee:
    """The configuration of a frontier behind which paying more buys less."""

    chosen: int
    """Index of the configuration."""
    height: float
    """How far above the line, in (0, 1)."""
    probability: float
    """Share of the resamples in which this configuration is the knee."""


def knee(resampled: Resampled) -> Knee | None:
    """The knee; None where no point of the frontier lies above the line between its ends.

    Raises UnanswerableError for objectives without a cost.
    """
    paired = resampled.paired
    if paired.cost is None:
        raise UnanswerableError(
            f"workload {paired.workload!r} has no cost among its objectives: no knee"
        )
    members = competitors(paired)
    if not len(members):
        return None
    cost_P = oriented_costs(paired, members)[:, 0]
    observed = heights(cost_P, paired.sign * paired.means[members, None])[:, 0]
    place = int(observed.argmax())
    if observed[place] <= ROUNDING:
        return None
    heights_PR = heights(cost_P, paired.sign * resampled.means[members])
    highest_R = heights_PR.max(axis=0)
    is_knee_R = (heights_PR[place] >= highest_R - ROUNDING) & (highest_R > ROUNDING)
    return Knee(int(members[place]), float(observed[place]), float(is_knee_R.mean()))


def heights(cost_P: Floats, merit_PR: Floats) -> Floats:
    """Height of every point above the line between the frontier's ends [P, R]; 0 off it."""
    on_PR = on_frontier(cost_P[:, None], merit_PR)
    costs_PR = np.broadcast_to(cost_P[:, None], merit_PR.shape)
    scaled = [_scaled(values_PR, on_PR) for values_PR in (merit_PR, costs_PR)]
    return np.where(on_PR, scaled[0] - scaled[1], 0.0)


def _scaled(values_PR: Floats, on_PR: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    """From 0 to 1 over the frontier; 0 where it is a single value."""
    low_R = np.where(on_PR, values_PR, np.inf).min(axis=0)
    high_R = np.where(on_PR, values_PR, -np.inf).max(axis=0)
    width_R = np.where(high_R > low_R, high_R - low_R, np.inf)
    return np.asarray(np.where(on_PR, values_PR - low_R, 0.0) / width_R)
