"""What is still to be timed in the measurement lane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from store.frontier import Direction, frontier
from store.records import Point
from store.repository import Store
from sweeps.times import TIME_METRICS
from sweeps.trial import BASELINE, MeasureSpec


def untimed(store: Store, sweep: str) -> list[tuple[str, int]]:
    """Finished trials of the sweep's plan, each with a batch size that it lacks numbers for.

    In the plan's order. Numbers count that were taken in the lane from at least as many pairs of
    runs as the sweep asks for. Raises ValueError that names the nearest sweep.
    """
    asked = store.spec(sweep).get("measure")
    measure = MeasureSpec.model_validate(asked) if asked is not None else None
    if measure is None or not measure.latency_pairs:
        return []
    points = _wanted(store.points(sweep), store.objectives(sweep), measure)
    trials = list(dict.fromkeys(point.trial for point in points))
    timed = store.timed(trials)
    return [
        (trial, batch)
        for trial in trials
        for batch in measure.timed_batches
        if timed.get((trial, batch), 0) < measure.latency_pairs
    ]


def _wanted(
    points: Sequence[Point],
    objectives: Mapping[str, Mapping[str, Direction]],
    measure: MeasureSpec,
) -> Iterator[Point]:
    if measure.latency_of == "all":
        yield from points
        return
    best = set(_promising(points, objectives))
    for point in points:
        judged = point.metrics["quality"] is not None
        if point.method == BASELINE or not judged or (point.workload, point.trial) in best:
            yield point


def _promising(
    points: Sequence[Point], objectives: Mapping[str, Mapping[str, Direction]]
) -> Iterator[tuple[str, str]]:
    """Points on the frontier over everything that is known before timing."""
    for workload, all_of_it in objectives.items():
        known = {name: way for name, way in all_of_it.items() if name not in TIME_METRICS}
        own = [point for point in points if point.workload == workload]
        yield from ((point.workload, point.trial) for point in frontier(own, known))
