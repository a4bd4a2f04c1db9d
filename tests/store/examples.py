"""Specs and results to store, made up but complete."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from methods.schedule import OneLayer
from store.repository import Store
from sweeps.times import Times
from sweeps.timing import TimingResult
from sweeps.trial import (
    FailureKind,
    Metrics,
    Named,
    TrialResult,
    TrialSpec,
    TrialState,
    Weights,
)

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
_FAILURES = count(1)


def spec(number: int = 0, seed: int = 0, keep_ratio: float = 0.5) -> TrialSpec:
    """One of many trials; differs in a hyperparameter."""
    return TrialSpec(
        task=Named(id="digits", version=1, params={"num_examples": 8}),
        data="0123456789abcdef",
        backbone=Weights(name="vit-digits", path="vit_digits/seed-0", fingerprint="fedcba98"),
        method=Named(id="tome", version=1, params={"number": number}),
        schedule=OneLayer(layer=1),
        keep_ratio=keep_ratio,
        seed=seed,
    )


def metrics(**changes: Any) -> Metrics:
    """Numbers with awkward digits, some of them missing."""
    numbers: dict[str, Any] = {
        "quality": 0.1 + 0.2,
        "quality_se": 1 / 3,
        "num_examples": 8,
        "tokens": 0.75,
        "tokens_per_layer": [144, 144, 72, 72],
        "flops": 0.7000000000000001,
        "flops_per_example": 1.5e9,
        "kv": None,
        "kv_bytes": None,
        "peak_memory": 0.9,
        "peak_bytes": 2**40,
        "compressor_seconds": 1e-5,
        "compressor_share": 0.01,
    }
    return Metrics(**(numbers | changes))


def finished(trial: TrialSpec, **changes: Any) -> TrialResult:
    """An attempt that went well; ``changes`` are of its metrics."""
    return TrialResult(
        trial_id=trial.id,
        state=TrialState.FINISHED,
        started_at=STARTED,
        seconds=1.25,
        worker="node:1",
        metrics=metrics(**changes),
        outcomes=[1.0, 0.0, 1 / 3, 1.0, 1.0, 0.0, 1.0, 0.5],
        environment={"torch": "2.13.0", "threads": 1},
    )


def timed(trial: TrialSpec, times: Times, in_lane: bool) -> TimingResult:
    """What timing it gave."""
    return TimingResult(
        trial_id=trial.id,
        batch=8,
        started_at=STARTED,
        seconds=0.5,
        worker="node:2",
        device="node/cpu",
        times=times,
        in_lane=in_lane,
    )


def failed(trial: TrialSpec, kind: FailureKind = FailureKind.WORKER_DIED) -> TrialResult:
    """An attempt that did not, each a second after the one before."""
    sound = finished(trial)
    return replace(
        sound,
        started_at=STARTED + timedelta(seconds=next(_FAILURES)),
        state=TrialState.FAILED,
        metrics=None,
        outcomes=[],
        failure=kind,
        error="the worker went away",
    )


def begin(store: Store, trials: list[TrialSpec], name: str = "quickstart") -> None:
    """Plan these trials as one workload."""
    planned = [("digits", "2x", trial) for trial in trials]
    store.begin_sweep(name, f"name: {name}\n", {"name": name}, planned, [])
