"""What is still to be timed in the measurement lane."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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
    missing = store.lacking(sweep, measure.timed_batches, measure.latency_pairs)
    if measure.latency_of == "all" or not missing:
        return missing
    wanted = set(_wanted(store, sweep))
    return [each for each in missing if each[0] in wanted]


def _wanted(store: Store, sweep: str) -> Iterator[str]:
    """The baseline, what is on a frontier over everything that is known before timing, and what
    was not judged."""
    yield from store.trials_with(sweep, BASELINE)
    for workload, all_of_it in store.objectives(sweep).items():
        known = {name: way for name, way in all_of_it.items() if name not in TIME_METRICS}
        for members in store.candidates(sweep, known, workload).values():
            chosen = members.frontier(known, np.ones(len(members.trials), dtype=bool))
            for index in np.flatnonzero(chosen | ~members.judged).tolist():
                yield members.trials[index]
