"""Trials that take a moment and note who ran them; workers import this by name, so it is light."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sweeps.trial import Head, Metrics, TrialResult, TrialSpec
from tests.orchestrator.trials import metrics, result

NOTES = "PARETOKEN_TORTURE_NOTES"
"""Names the folder in which every attempt leaves a line: a file for each trial."""
SECONDS = 0.06
GO = ".go"
"""No trial ends before there is a file of the folder's name with this ending. It holds how many
may: those that were begun first."""
TROUBLE = ".trouble"
"""A folder of that name with this ending says which trials fail at first, and how: a file for each
that names one of :data:`TROUBLES`."""
MORE_THAN_THERE_IS = 2**50


def quick(
    spec: TrialSpec,
    _head: Head | None = None,
    *,
    small_batches: bool = False,
) -> TrialResult:
    """Numbers that depend on the spec alone."""
    started_at, started = datetime.now(UTC), time.perf_counter()
    notes = Path(os.environ[NOTES])
    with (notes / spec.id).open("a") as file:
        file.write(f"{os.getpid()}\n")
    place = len(list(notes.iterdir()))
    while _allowed(notes.with_suffix(GO)) < place:
        time.sleep(0.02)
    time.sleep(SECONDS)
    trouble = notes.with_suffix(TROUBLE) / spec.id
    if trouble.exists() and len((notes / spec.id).read_text().splitlines()) == 1:
        return TROUBLES[trouble.read_text()](spec)
    return result(spec, started_at, time.perf_counter() - started, _outcomes(spec))


def _allowed(gate: Path) -> float:
    return float(gate.read_text()) if gate.exists() else 0.0


def _hang(_: TrialSpec) -> TrialResult:
    while True:
        time.sleep(1)


def _exhaust(spec: TrialSpec) -> TrialResult:
    from tests.orchestrator.failing_trials import failed

    try:
        bytearray(MORE_THAN_THERE_IS)
    except MemoryError as error:
        return failed(spec, error)
    raise AssertionError("no machine has so much memory")


TROUBLES = {"hang": _hang, "memory": _exhaust}


def quick_numbers(spec: TrialSpec) -> tuple[Metrics, list[float]]:
    """What an undisturbed run records."""
    outcomes = _outcomes(spec)
    return metrics(spec, outcomes), outcomes


def _outcomes(spec: TrialSpec) -> list[float]:
    drawn: list[float] = np.random.default_rng(int(spec.id, 16)).random(32).tolist()
    return drawn
