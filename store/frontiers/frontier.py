"""The Pareto frontier: what no other configuration beats in every objective at once.

Pure functions of points, or of anything with a ``workload`` and ``metrics``. Workloads never
compete with each other. A point without a value for an objective (a KV size in a model without a
cache), or with one that is only simulated or was timed outside the measurement lane, is left out of
that frontier, and so is from every frontier a point whose quality was not measured: what is
cheapest wins there, whatever it breaks. Where a race stopped points early, those compete that saw
the most examples. Points that are equal in every objective are on it together.

Dominance and hypervolume are exact, from moocore (https://multi-objective.github.io/moocore).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from methods.naming import unknown
from store.records import METRIC_NAMES, Number, Point
from sweeps.metrics import METRICS, Direction

Objectives = Mapping[str, Direction]
Floats = NDArray[np.float64]


class Row(Protocol):
    """What a frontier is made of."""

    @property
    def workload(self) -> str:
        """Points of one workload compete."""
        ...

    @property
    def metrics(self) -> Mapping[str, Number | None]:
        """Values by the names of :class:`sweeps.trial.Metrics`."""
        ...

    @property
    def simulated(self) -> Collection[str]:
        """Metrics whose saving is only simulated: no place on a frontier over them."""
        ...

    @property
    def outside_lane(self) -> Collection[str]:
        """Metrics that were taken while other trials ran: no place there either."""
        ...


RowT = TypeVar("RowT", bound=Row)


def frontier(points: Sequence[RowT], objectives: Objectives) -> list[RowT]:
    """The non-dominated points of every workload, in their order.

    Raises ValueError for no objective, an unknown metric or an unknown direction.
    """
    return [point for point, on in zip(points, on_frontier(points, objectives), strict=True) if on]


def on_frontier(points: Sequence[Row], objectives: Objectives) -> list[bool]:
    """Whether each point is non-dominated among those of its workload. Raises like `frontier`."""
    import moocore

    check_objectives(objectives)
    flags = np.zeros(len(points), dtype=bool)
    for members in _by_workload(points).values():
        own = [points[i] for i in members]
        values, complete = competing_values(own, objectives)
        if complete.any():
            best = moocore.is_nondominated(
                values[complete], maximise=maximise(objectives), keep_weakly=True
            )
            flags[np.array(members)[complete]] = best
    return [bool(flag) for flag in flags]


def hypervolume(points: Sequence[Row], objectives: Objectives) -> dict[str, float]:
    """Volume that each workload's points dominate, down to :func:`reference`; larger is better.

    A workload whose points all lack some objective has volume 0. Raises like `frontier`.
    """
    import moocore

    check_objectives(objectives)
    volumes = {}
    for workload, members in _by_workload(points).items():
        values, complete = competing_values([points[i] for i in members], objectives)
        if not complete.any():
            volumes[workload] = 0.0
            continue
        worst = _reference(values[complete], objectives)
        volume = moocore.hypervolume(values[complete], ref=worst, maximise=maximise(objectives))
        volumes[workload] = float(volume)
    return volumes


def reference(points: Sequence[Row], objectives: Objectives) -> dict[str, dict[str, float]]:
    """Per workload, the worst corner that hypervolumes are measured from.

    0 for what is maximised. For what is minimised the baseline's 1.0, or the worst value seen if
    that is larger; for costs in units, which have no baseline of 1, the worst value seen. Volumes
    of two sets of points compare only where this corner is the same.
    """
    check_objectives(objectives)
    corners = {}
    for workload, members in _by_workload(points).items():
        values, complete = competing_values([points[i] for i in members], objectives)
        if complete.any():
            corner = _reference(values[complete], objectives)
            corners[workload] = dict(zip(objectives, corner.tolist(), strict=True))
    return corners


def select(
    points: Sequence[RowT],
    objectives: Objectives,
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
) -> list[RowT]:
    """The frontier of the points within bounds, both ends included.

    ``select(points, objectives, maximum={"flops": 0.5}, minimum={"quality": 0.95})``. Bounds may
    name any metric; a point without an honest value for one is out. Raises like `frontier`.
    """
    upper, lower = maximum or {}, minimum or {}
    for name in (*upper, *lower):
        check_metric(name)
    inside = [point for point in points if within(point, upper, lower)]
    return frontier(inside, objectives)


def honest(point: Row, name: str) -> Number | None:
    """A metric, or None if its saving is only simulated or it was timed while other trials ran."""
    pretends = name in point.simulated or name in point.outside_lane
    return None if pretends else point.metrics[name]


def within(point: Row, upper: Mapping[str, float], lower: Mapping[str, float]) -> bool:
    """Whether every bounded metric has an honest value within its bounds, ends included."""
    values = {name: honest(point, name) for name in (*upper, *lower)}
    known = {name: value for name, value in values.items() if value is not None}
    return (
        len(known) == len(values)
        and all(known[name] <= bound for name, bound in upper.items())
        and all(known[name] >= bound for name, bound in lower.items())
    )


class Spread(NamedTuple):
    """One metric across seeds."""

    mean: float
    low: float
    """Smallest value of a seed."""
    high: float
    """Largest value of a seed."""


@dataclass(frozen=True)
class SeedGroup:
    """One configuration over all its seeds; its ``metrics`` are means, and make a frontier too."""

    workload: str
    method: str
    hyperparameters_json: str
    keep_ratio: float
    keep_label: str
    schedule: str
    seeds: tuple[int, ...]
    trials: tuple[str, ...]
    spread: dict[str, Spread | None]
    """None where a seed has no value."""
    simulated: frozenset[str]
    outside_lane: frozenset[str] = frozenset()
    disturbed: frozenset[str] = frozenset()
    """What may have disturbed its timings."""
    devices: frozenset[str] = frozenset()
    """What they were taken on."""

    @cached_property
    def metrics(self) -> dict[str, Number | None]:
        """Mean of every metric over the seeds."""
        return {name: each.mean if each else None for name, each in self.spread.items()}


def across_seeds(points: Iterable[Point]) -> list[SeedGroup]:
    """Mean, smallest and largest value of points that differ only in their seed, in their order."""
    groups: dict[tuple[str, str, str, float, str], list[Point]] = {}
    for point in points:
        key = (
            point.workload,
            point.method,
            point.hyperparameters_json,
            point.keep_ratio,
            point.schedule,
        )
        groups.setdefault(key, []).append(point)
    return [_seed_group(members) for members in groups.values()]


def _seed_group(points: Sequence[Point]) -> SeedGroup:
    first = points[0]
    return SeedGroup(
        workload=first.workload,
        method=first.method,
        hyperparameters_json=first.hyperparameters_json,
        keep_ratio=first.keep_ratio,
        keep_label=first.keep_label,
        schedule=first.schedule,
        seeds=tuple(point.seed for point in points),
        trials=tuple(point.trial for point in points),
        spread={name: _spread([p.metrics[name] for p in points]) for name in first.metrics},
        simulated=frozenset().union(*(point.simulated for point in points)),
        outside_lane=frozenset().union(*(point.outside_lane for point in points)),
        disturbed=frozenset().union(*(point.disturbed for point in points)),
        devices=frozenset(point.device for point in points if point.device is not None),
    )


def _spread(values: Sequence[Number | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if len(known) == 1:
        return Spread(known[0], known[0], known[0])
    return Spread(sum(known) / len(known), min(known), max(known))


def _by_workload(points: Sequence[Row]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        members.setdefault(point.workload, []).append(index)
    return members


def objective_values(
    points: Sequence[Row], objectives: Objectives
) -> tuple[Floats, NDArray[np.bool_]]:
    """Values [points, objectives], and which points have all of them."""
    rows = [[honest(point, name) for name in objectives] for point in points]
    shape = len(points), len(objectives)
    values: Floats = np.array(rows, dtype=np.float64).reshape(shape)  # None becomes NaN
    judged = np.array([point.metrics["quality"] is not None for point in points], dtype=bool)
    complete: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1) & judged
    return values, complete


def competing_values(
    points: Sequence[Row], objectives: Objectives
) -> tuple[Floats, NDArray[np.bool_]]:
    """Values [points, objectives], and which points have all of them and saw most examples."""
    values, complete = objective_values(points, objectives)
    return values, complete & longest(points)


def longest(points: Sequence[Row]) -> NDArray[np.bool_]:
    """Which points saw the most examples: others were stopped before, and their means tell less."""
    numbers = np.array([point.metrics.get("num_examples") or 0 for point in points])
    return np.asarray(numbers == numbers.max(initial=0))


def maximise(objectives: Objectives) -> list[bool]:
    """Directions as moocore takes them."""
    return [direction == "maximize" for direction in objectives.values()]


def _reference(values: Floats, objectives: Objectives) -> Floats:
    baseline = [1.0 if METRICS[name].relative else -np.inf for name in objectives]
    worst = np.maximum(values.max(axis=0), baseline)
    return np.where(maximise(objectives), 0.0, worst)


def check_metric(name: str) -> None:
    """Raises ValueError for an unknown metric, naming the nearest."""
    if name not in METRIC_NAMES:
        raise ValueError(unknown("metric", name, METRIC_NAMES))


def check_objectives(objectives: Objectives) -> None:
    """Raises ValueError for no objective, an unknown metric or an unknown direction."""
    if not objectives:
        raise ValueError("a frontier needs at least one objective, such as quality: maximize")
    for name, direction in objectives.items():
        check_metric(name)
        if direction not in ("maximize", "minimize"):
            raise ValueError(unknown("direction", direction, ("maximize", "minimize")))
