"""What the pages show: every point with its place on the frontier and among its seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from methods.naming import called
from sweeps.metrics import QUALITY

if TYPE_CHECKING:  # their imports take longer than a table takes to print
    from store.frontiers.frontier import Objectives, SeedGroup
    from store.records import Point
    from store.repository import Store

STACK, STAGES = "stack", "stages"
"""The method made of methods, and the hyperparameter that lists them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A finished trial, as tables and figures show it."""

    point: Point
    on_frontier: bool
    group: SeedGroup
    """The same configuration over all seeds of the sweep."""

    @property
    def workload(self) -> str:
        """The point's."""
        return self.point.workload

    @property
    def is_judged(self) -> bool:
        """Whether quality was measured; without, only the costs say anything."""
        return self.point.metrics[QUALITY] is not None

    def as_json(self) -> dict[str, Any]:
        """One JSON object with everything known about the point."""
        point = self.point
        return {
            "workload": point.workload,
            "trial": point.trial,
            "method": point.method,
            "hyperparameters": point.hyperparameters,
            "keep_ratio": point.keep_ratio,
            "keep_label": point.keep_label,
            "schedule": point.schedule,
            "seed": point.seed,
            "metrics": {**point.metrics, "tokens_per_layer": point.tokens_per_layer},
            "in_lane": point.in_lane,
            "device": point.device,
            "disturbed": point.disturbed,
            "on_frontier": self.on_frontier,
        }


def rows_of(
    points: Sequence[Point],
    objectives: Mapping[str, Objectives],
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
) -> list[Row]:
    """One row per point, workload by workload, each flagged by its own workload's objectives.

    With bounds, the frontier is that of the points within them, as in
    :func:`store.frontiers.frontier.select`. Raises ValueError like it, and for a workload
    without objectives.
    """
    from store.frontiers.frontier import across_seeds, select

    rows = []
    for workload, members in by_workload(points).items():
        if workload not in objectives:
            raise ValueError(f"workload {workload!r} has no objectives; known: {[*objectives]}")
        groups = {trial: group for group in across_seeds(members) for trial in group.trials}
        best = select(members, objectives[workload], maximum, minimum)
        on_frontier = {point.trial for point in best}
        rows += [Row(p, p.trial in on_frontier, groups[p.trial]) for p in members]
    return rows


def stored_rows(
    store: Store,
    sweep: str,
    workload: str | None = None,
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
) -> list[Row]:
    """Rows of a stored sweep, by the objectives it was run with.

    Raises ValueError for an unknown sweep, workload or metric, naming the nearest.
    """
    points = store.points(sweep, workload)
    return rows_of(points, store.objectives(sweep), maximum, minimum)


def short_list(
    rows: Iterable[Row],
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
) -> list[Row]:
    """The frontier, and everything within bounds where quality was not measured."""
    from store.frontiers.frontier import within

    def is_cheap(row: Row) -> bool:
        return not row.is_judged and within(row.point, maximum or {}, minimum or {})

    return [row for row in rows if row.on_frontier or is_cheap(row)]


def best_rows(
    store: Store,
    sweep: str,
    workload: str | None = None,
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
) -> list[Row]:
    """The :func:`short_list` of a stored sweep, with nothing read that is not on it.

    Of 100,000 trials a few hundred are; reading them all takes seconds. Raises like `stored_rows`.
    """
    from store.frontiers.frontier import across_seeds

    best = _best(store, sweep, workload, maximum or {}, minimum or {})
    points = store.points_beside(sweep, {trial for _, trial in best})
    groups = {
        (group.workload, trial): group for group in across_seeds(points) for trial in group.trials
    }
    chosen = (point for point in points if (point.workload, point.trial) in best)
    rows = [
        Row(point, best[point.workload, point.trial], groups[point.workload, point.trial])
        for point in chosen
    ]
    order = {name: index for index, name in enumerate(by_workload(points))}
    return sorted(rows, key=lambda row: order[row.point.workload])


def _best(
    store: Store,
    sweep: str,
    workload: str | None,
    maximum: Mapping[str, float],
    minimum: Mapping[str, float],
) -> dict[tuple[str, str], bool]:
    """Workload and trial of what is on the short list, and whether it is on the frontier."""
    from store.records import METRIC_NAMES

    objectives = store.objectives(sweep)
    best: dict[tuple[str, str], bool] = {}
    for name in objectives if workload is None else [workload]:
        # each for itself: looking for times takes longest, and few workloads may need them
        metrics = {*maximum, *minimum, *objectives.get(name, {})} & set(METRIC_NAMES)
        members = store.candidates(sweep, metrics, name).get(name)
        if members is None:
            continue
        if name not in objectives:
            raise ValueError(f"workload {name!r} has no objectives; known: {[*objectives]}")
        inside = members.within(maximum, minimum)
        on_frontier = members.frontier(objectives[name], inside)
        shown = on_frontier | (inside & ~members.judged)
        best |= {
            (name, members.trials[i]): bool(on_frontier[i]) for i in shown.nonzero()[0].tolist()
        }
    return best


class OfWorkload(Protocol):
    """A trial of some workload, however much is known about it."""

    @property
    def workload(self) -> str:
        """Its name in the sweep file."""
        ...


MemberT = TypeVar("MemberT", bound=OfWorkload)


def by_workload(members: Iterable[MemberT]) -> dict[str, list[MemberT]]:
    """What belongs to each workload, in the order in which workloads first appear."""
    groups: dict[str, list[MemberT]] = {}
    for member in members:
        groups.setdefault(member.workload, []).append(member)
    return groups


class Variant(Protocol):
    """A method with its hyperparameters."""

    @property
    def method(self) -> str:
        """Id of the method."""
        ...

    @property
    def hyperparameters_json(self) -> str:
        """Canonical, so that equal ones are equal texts."""
        ...


def variant_labels(points: Iterable[Variant]) -> dict[tuple[str, str], str]:
    """A name for every method and hyperparameters (JSON): what distinguishes it is in brackets."""
    variants = dict.fromkeys((point.method, point.hyperparameters_json) for point in points)
    chosen: dict[tuple[str, str], dict[str, Any]] = {each: json.loads(each[1]) for each in variants}
    seen: dict[tuple[str, str], set[str]] = {}
    for (method, _), hyperparameters in chosen.items():
        for name, value in hyperparameters.items():
            seen.setdefault((method, name), set()).add(str(value))
    return {
        (method, text): _label(
            method, {k: v for k, v in values.items() if len(seen[method, k]) > 1 or k == STAGES}
        )
        for (method, text), values in chosen.items()
    }


def _label(method: str, distinguishing: Mapping[str, Any]) -> str:
    if method == STACK and STAGES in distinguishing:
        return " + ".join(_stage_label(stage) for stage in distinguishing[STAGES])
    return called(method, distinguishing)


def _stage_label(stage: Mapping[str, Any]) -> str:
    own = {"keep": stage["keep"]} if stage["keep"] is not None else {}
    place = f"@{stage['at']}" if stage["at"] is not None else ""
    return _label(f"{stage['method']}{place}", stage["params"] | own)
