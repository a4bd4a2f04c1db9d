"""Trials that take a moment and note who ran them; workers import this by name, so it is light."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sweeps.trial import Metrics, TrialResult, TrialSpec, TrialState

NOTES = "PARETOKEN_TORTURE_NOTES"
"""Names the folder in which every attempt leaves a line: a file for each trial."""
SECONDS = 0.06
GO = ".go"
"""No trial ends before there is a file of the folder's name with this ending."""


def quick(spec: TrialSpec) -> TrialResult:
    """Numbers that depend on the spec alone."""
    started_at, started = datetime.now(UTC), time.perf_counter()
    notes = Path(os.environ[NOTES])
    with (notes / spec.id).open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not notes.with_suffix(GO).exists():
        time.sleep(0.02)
    time.sleep(SECONDS)
    metrics, outcomes = quick_numbers(spec)
    return TrialResult(
        trial_id=spec.id,
        state=TrialState.FINISHED,
        started_at=started_at,
        seconds=time.perf_counter() - started,
        worker=f"{platform.node()}:{os.getpid()}",
        metrics=metrics,
        outcomes=outcomes,
    )


def quick_numbers(spec: TrialSpec) -> tuple[Metrics, list[float]]:
    """What an undisturbed run records."""
    outcomes = np.random.default_rng(int(spec.id, 16)).random(32).tolist()
    metrics = Metrics(
        quality=float(np.mean(outcomes)),
        quality_se=float(np.std(outcomes, ddof=1) / len(outcomes) ** 0.5),
        num_examples=len(outcomes),
        tokens=spec.keep_ratio,
        tokens_per_layer=[8, 8],
        flops=spec.keep_ratio,
        flops_per_example=1e6 * spec.keep_ratio,
        kv=None,
        kv_bytes=None,
        peak_memory=1.0,
        peak_bytes=1024,
    )
    return metrics, outcomes
