"""The frontier of a large sweep is found without reading all of it, and is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dashboards.rows import best_rows, short_list, stored_rows
from store.records import Point
from store.repository import Store
from store.sql import queries
from sweeps.times import Times
from sweeps.timing import TimingResult
from sweeps.trial import MeasureSpec
from tests.store import examples

OBJECTIVES = {
    "digits": {"quality": "maximize", "flops": "minimize"},
    "timed": {"quality": "maximize", "latency": "minimize"},
}
BOUNDS: list[tuple[dict[str, float], dict[str, float]]] = [
    ({}, {}),
    ({"flops": 0.4}, {}),
    ({"flops": 0.6, "peak_memory": 1.0}, {"quality": 0.3}),
    ({"latency": 0.8}, {}),
    ({"flops": 0.3, "num_examples": 8}, {}),
    ({"kv": 0.5}, {}),
]


@pytest.fixture(params=[1, 2])
def large(request: pytest.FixtureRequest, store: Store) -> Store:
    """Random numbers and ties. Some qualities not measured, some costs simulated, some times taken
    outside the lane or not at all, some trials stopped early."""
    rng = np.random.default_rng(request.param)
    ratios = np.round(np.linspace(0.05, 0.95, 25), 3).tolist()
    trials = [examples.spec(n, seed, keep) for n in (1, 2) for seed in (0, 1) for keep in ratios]
    costs = MeasureSpec(what=("cost",))
    trials += [trial.model_copy(update={"measure": costs, "seed": 9}) for trial in trials[:5]]
    workloads = {name: {"objectives": each} for name, each in OBJECTIVES.items()}
    planned = [(name, "x", trial) for name in workloads for trial in trials]
    store.begin_sweep("large", "", {"workloads": workloads}, planned, [])
    store.record([examples.finished(trial, **_numbers(trial, rng)) for trial in trials])
    store.record([_timing(trial, rng) for trial in trials if rng.random() < 0.8])
    return store


def _numbers(trial: Any, rng: np.random.Generator) -> dict[str, Any]:
    judged = trial.measure.quality
    return {
        "quality": round(float(rng.random()), 1) if judged else None,
        "num_examples": int(rng.choice([4, 8], p=[0.2, 0.8])) if judged else 0,
        "flops": round(float(rng.random()), 1),
        "simulated": [name for name in ("flops", "latency") if rng.random() < 0.2],
    }


def _timing(trial: Any, rng: np.random.Generator) -> TimingResult:
    times = Times(latency=round(float(rng.random()), 1))
    return examples.timed(trial, times, in_lane=bool(rng.random() < 0.7))


@pytest.mark.parametrize(("maximum", "minimum"), BOUNDS)
def test_the_short_way_gives_what_the_long_way_gives(
    large: Store, maximum: dict[str, float], minimum: dict[str, float]
) -> None:
    everything = stored_rows(large, "large", None, maximum, minimum)
    wanted = short_list(everything, maximum, minimum)
    found = best_rows(large, "large", None, maximum, minimum)
    by_trial = {(row.point.workload, row.point.trial): row for row in found}
    assert len(by_trial) == len(found) == len(wanted)
    for row in wanted:
        assert by_trial[row.point.workload, row.point.trial] == row


def test_what_was_stopped_early_or_timed_beside_others_is_on_no_frontier(large: Store) -> None:
    rows = stored_rows(large, "large")
    assert any(row.point.metrics["num_examples"] == 4 for row in rows)
    assert any(row.point.metrics["latency"] is not None and not row.point.in_lane for row in rows)
    best = [row.point for row in best_rows(large, "large") if row.on_frontier]
    assert {point.metrics["num_examples"] for point in best} == {8}
    assert all(point.in_lane for point in best if point.workload == "timed")


def test_mistakes_are_told_as_before(large: Store) -> None:
    with pytest.raises(ValueError, match="did you mean 'flops'"):
        best_rows(large, "large", maximum={"flop": 0.5})
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        best_rows(large, "large", "digit")
    with pytest.raises(ValueError, match="did you mean 'large'"):
        best_rows(large, "larg")


def test_only_what_is_shown_is_read_in_full(large: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Point] = []
    point = queries.point

    def reading(row: Any) -> Point:
        read.append(point(row))
        return read[-1]

    monkeypatch.setattr(queries, "point", reading)
    shown = best_rows(large, "large")
    assert shown
    assert len(read) <= 10 * len(shown) < len(large.points("large"))
