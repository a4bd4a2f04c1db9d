"""What is served: the frontier configurations of a sweep, frozen with their measured numbers.

A release is plain data: it travels to the server's processes, and everything the server says about
a configuration is read from it. Importing this module imports neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from methods.kvpress._environment import is_press
from store.frontiers.frontier import Objectives, frontier
from store.records import METRIC_NAMES, Point
from store.repository import Store
from sweeps.metrics import METRICS, Direction
from sweeps.trial import Metrics, TrialSpec

COSTS = tuple(name for name in METRIC_NAMES if METRICS[name].role == "cost")
"""Metrics that a request can limit; less is better for all of them."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Configuration(_Frozen):
    """One point of a frontier: what to run, and what was measured when it ran."""

    trial: str
    """Content hash of the trial that measured it."""
    spec: TrialSpec
    measured: Metrics

    def cost(self, metric: str) -> float | None:
        """A measured number by name; None where there is none, or where it is only simulated."""
        if metric in self.measured.simulated:
            return None
        value: float | None = getattr(self.measured, metric)
        return value

    @property
    def quality(self) -> float:
        """Mean outcome per example; what was not judged is not served."""
        assert self.measured.quality is not None
        return self.measured.quality


class Workload(_Frozen):
    """A task on a backbone, and the configurations that no other one beats."""

    name: str
    objectives: dict[str, Direction]
    """In the order of the sweep file."""
    configurations: tuple[Configuration, ...] = Field(min_length=1)

    @property
    def minimises_quality(self) -> bool:
        """Whether a smaller quality is the better one."""
        return self.objectives.get("quality") == "minimize"

    def merit(self, configuration: Configuration) -> float:
        """Quality turned so that more is better."""
        return -configuration.quality if self.minimises_quality else configuration.quality

    @property
    def first_cost(self) -> str | None:
        """The first minimised objective: what a bare number in a request limits."""
        return next(iter(self.costs), None)

    @property
    def costs(self) -> tuple[str, ...]:
        """Minimised objectives that are costs, in the sweep's order."""
        names = (name for name, way in self.objectives.items() if way == "minimize")
        return tuple(name for name in names if name in COSTS)


class Release(_Frozen):
    """What a server answers from; never changes."""

    sweep: str
    workloads: tuple[Workload, ...] = Field(min_length=1)
    left_out: dict[str, tuple[str, ...]] = {}
    """Methods that need another interpreter than a server's, by workload."""
    without_frontier: dict[str, tuple[str, ...]] = {}
    """Objectives, by workload, that no finished trial has all real values for."""

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Of all workloads, in order; a trial that two workloads share is there twice."""
        return tuple(each for workload in self.workloads for each in workload.configurations)

    @property
    def shortfall(self) -> str | None:
        """One sentence about what is left out; None where nothing is."""
        found = [each for each in (self._other_interpreters, self._unmeasured) if each]
        return "; ".join(found) or None

    @property
    def _unmeasured(self) -> str | None:
        if not self.without_frontier:
            return None
        return " and ".join(
            f"left out workload {name!r}: no trial has a measured value for all of "
            f"{', '.join(objectives)}"
            for name, objectives in self.without_frontier.items()
        )

    @property
    def _other_interpreters(self) -> str | None:
        methods = sorted({method for found in self.left_out.values() for method in found})
        if not methods:
            return None
        served = {workload.name for workload in self.workloads}
        empty = ", ".join(repr(name) for name in self.left_out if name not in served)
        ending = f"; nothing is left of workload {empty}" if empty else ""
        return f"left out {', '.join(methods)}: they need another interpreter{ending}"


def release_of(store: Store, sweep: str) -> Release:
    """The frontier of a sweep as it is now, over the methods that a server can run.

    Raises ValueError for a sweep that does not exist, has no finished trial, or has none of a
    method that runs here.
    """
    finished = store.points(sweep)
    if not finished:
        raise ValueError(f"sweep {sweep!r} has no finished trials yet; run it first")
    finished = [point for point in finished if point.metrics["quality"] is not None]
    if not finished:
        raise ValueError(
            f"nothing of sweep {sweep!r} can be served: it measured costs alone, without quality"
        )
    left_out = _left_out(finished)
    points = [point for point in finished if not is_press(point.method)]
    if not points:
        raise ValueError(
            f"nothing of sweep {sweep!r} can be served: all its finished trials are of presses, "
            "which need another interpreter; run it with methods of this project as well"
        )
    objectives = store.objectives(sweep)
    names = dict.fromkeys(point.workload for point in points)
    best = {name: _best(name, points, objectives[name]) for name in names}
    served = [_workload(name, found, objectives[name]) for name, found in best.items() if found]
    empty = {name: tuple(objectives[name]) for name, found in best.items() if not found}
    if not served:
        missing = " and ".join(f"{name!r} ({', '.join(names)})" for name, names in empty.items())
        raise ValueError(
            f"nothing of sweep {sweep!r} can be served: no trial has a measured value for all "
            f"objectives of {missing}; `paretoken run` times what is not timed yet"
        )
    return Release(sweep=sweep, workloads=tuple(served), left_out=left_out, without_frontier=empty)


def _left_out(points: Sequence[Point]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for point in points:
        if is_press(point.method):
            found.setdefault(point.workload, {})[point.method] = None
    return {workload: tuple(methods) for workload, methods in found.items()}


def _best(name: str, points: list[Point], objectives: Objectives) -> list[Point]:
    return frontier([point for point in points if point.workload == name], objectives)


def _workload(name: str, best: list[Point], objectives: Objectives) -> Workload:
    return Workload(
        name=name,
        objectives=dict(objectives),
        configurations=tuple(_configuration(point) for point in best),
    )


def _configuration(point: Point) -> Configuration:
    numbers = {n: None if n in point.outside_lane else v for n, v in point.metrics.items()}
    others = {"tokens_per_layer": point.tokens_per_layer, "simulated": sorted(point.simulated)}
    return Configuration(
        trial=point.trial,
        spec=TrialSpec.model_validate(point.spec),
        measured=Metrics.model_validate(numbers | others),
    )
