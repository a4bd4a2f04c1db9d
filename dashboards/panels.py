"""What the frontier figures draw, computed once for the PNG and the interactive page.

A panel is one workload: quality against the first cost that the sweep minimises. Nothing here knows
how to draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dashboards.rows import Row, by_workload, variant_labels
from methods.naming import counted
from store.frontiers.frontier import Objectives
from store.records import Point
from sweeps.metrics import METRICS, QUALITY, Direction
from sweeps.trial import BASELINE

_WIDE = 4.0
XY = tuple[float, float]
_Step = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean over seeds of one method under one schedule, by rising cost."""

    schedule: str
    means: tuple[XY, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    """Smallest and largest quality over seeds at each mean."""


@dataclass(frozen=True, slots=True)
class Series:
    """One method with one set of hyperparameters."""

    label: str
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """What the figure of one workload draws: series, the frontier's staircase, the baseline."""

    workload: str
    cost: str
    quality_direction: Direction
    objectives: tuple[str, ...]
    series: tuple[Series, ...]
    staircase: tuple[XY, ...]
    """Best quality reachable at each cost, by rising cost."""
    baseline: XY | None
    """The uncompressed model, mean over seeds; None where the sweep did not measure it."""
    num_undrawn: int
    """Trials that have no number for the cost."""

    @property
    def rows(self) -> list[Row]:
        """Every trial that is drawn, over all series."""
        return [row for series in self.series for row in series.rows]

    @property
    def compared(self) -> list[Series]:
        """Series that compress; the rest is only the baseline."""
        return [series for series in self.series if series.curves]

    @property
    def schedules(self) -> list[str]:
        """Schedules under which something was compressed, in the order of the sweep."""
        compressed = (row.point for row in self.rows if row.point.method != BASELINE)
        return list(dict.fromkeys(point.schedule for point in compressed))

    @property
    def is_fraction(self) -> bool:
        """Whether the cost is a fraction of the uncompressed model's."""
        return METRICS[self.cost].relative

    @property
    def has_quality_shares(self) -> bool:
        """Whether quality is a share of what could be reached; what is minimised has a unit."""
        return self.quality_direction == "maximize"

    @property
    def largest_cost(self) -> float:
        """Where the horizontal axis ends."""
        return max(position(row.point, self.cost)[0] for row in self.rows)

    @property
    def smallest_cost(self) -> float:
        """Where the horizontal axis begins."""
        return min(position(row.point, self.cost)[0] for row in self.rows)

    @property
    def is_wide(self) -> bool:
        """Whether costs differ so much that a logarithmic axis shows them better."""
        return 0 < self.smallest_cost * _WIDE <= self.largest_cost

    @property
    def cost_label(self) -> str:
        """What the horizontal axis shows."""
        words = METRICS[self.cost].words
        return f"{words}, fraction of the uncompressed model" if self.is_fraction else words

    @property
    def title(self) -> str:
        """What is drawn against what."""
        return f"{self.workload}: quality against {METRICS[self.cost].words}"

    @property
    def subtitle(self) -> str:
        """How much evidence there is, and what the ringed points mean."""
        seeds = len({row.point.seed for row in self.rows})
        on_frontier = sum(row.on_frontier for row in self.rows)
        examples = [int(row.point.metrics["num_examples"] or 0) for row in self.rows]
        said = [
            "..".join(str(n) for n in sorted({min(examples), max(examples)})) + " examples",
            counted(seeds, "seed"),
            f"{counted(len(self.rows), 'trial')}, {on_frontier} on the frontier over "
            + ", ".join(self.objectives),
        ]
        if self.num_undrawn:
            said.append(f"{self.num_undrawn} without {self.cost} not drawn")
        return " · ".join(said)


def panels(rows: Iterable[Row], objectives: Mapping[str, Objectives]) -> list[Panel]:
    """One panel per workload that minimises a cost; its trials have numbers for it and quality."""
    found = (
        _panel(workload, members, cost, objectives[workload])
        for workload, members in by_workload(rows).items()
        if (cost := _first_cost(objectives[workload])) is not None
    )
    return [panel for panel in found if panel.rows]


def sweep_labels(all_panels: Sequence[Panel]) -> list[str]:
    """Every compared series once; a method looks the same in every panel."""
    return list(dict.fromkeys(s.label for panel in all_panels for s in panel.compared))


def _panel(workload: str, rows: list[Row], cost: str, objectives: Objectives) -> Panel:
    direction = objectives.get(QUALITY, "maximize")
    drawn = [row for row in rows if None not in map(row.point.metrics.get, (cost, QUALITY))]
    baseline = _baseline(drawn, cost)
    return Panel(
        workload=workload,
        cost=cost,
        quality_direction=direction,
        objectives=tuple(objectives),
        series=_series(drawn, cost, baseline),
        staircase=_staircase(drawn, cost, direction),
        baseline=baseline,
        num_undrawn=len(rows) - len(drawn),
    )


def _first_cost(objectives: Objectives) -> str | None:
    costs = (n for n, way in objectives.items() if way == "minimize" and n != QUALITY)
    return next(costs, None)


def position(point: Point, cost: str) -> XY:
    """Where a point lies in the panel of that cost."""
    x, y = point.metrics[cost], point.metrics[QUALITY]
    assert x is not None
    assert y is not None
    return float(x), float(y)


def _series(rows: list[Row], cost: str, baseline: XY | None) -> tuple[Series, ...]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.point.method, row.point.hyperparameters_json), []).append(row)
    labels = variant_labels(row.point for row in rows)
    return tuple(
        Series(labels[variant], tuple(found), _curves(found, cost, baseline))
        for variant, found in sorted(groups.items())
    )


def _curves(rows: list[Row], cost: str, baseline: XY | None) -> tuple[Curve, ...]:
    """One curve per schedule, ending in the baseline, which is what every method is at keep 1."""
    by_schedule: dict[str, list[_Step]] = {}
    for group in {id(row.group): row.group for row in rows}.values():
        x, y = group.spread[cost], group.spread[QUALITY]
        if group.method != BASELINE and x and y:
            step = (x.mean, y.mean, y.low, y.high)
            by_schedule.setdefault(group.schedule, []).append(step)
    last = [(*baseline, baseline[1], baseline[1])] if baseline else []
    return tuple(_curve(schedule, sorted(found + last)) for schedule, found in by_schedule.items())


def _curve(schedule: str, steps: list[_Step]) -> Curve:
    return Curve(
        schedule=schedule,
        means=tuple((x, y) for x, y, _, _ in steps),
        lows=tuple(low for _, _, low, _ in steps),
        highs=tuple(high for _, _, _, high in steps),
    )


def _staircase(rows: list[Row], cost: str, direction: Direction) -> tuple[XY, ...]:
    sign = 1 if direction == "maximize" else -1
    found = (position(row.point, cost) for row in rows if row.on_frontier)
    steps: list[XY] = []
    for x, y in sorted(found, key=lambda xy: (xy[0], -sign * xy[1])):
        if not steps or sign * y > sign * steps[-1][1]:
            steps.append((x, y))
    return tuple(steps)


def _baseline(rows: list[Row], cost: str) -> XY | None:
    uncompressed = {
        row.point.seed: position(row.point, cost) for row in rows if row.point.method == BASELINE
    }
    if not uncompressed:
        return None
    return fmean(x for x, _ in uncompressed.values()), fmean(y for _, y in uncompressed.values())
