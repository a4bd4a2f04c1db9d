"""What runs inside a worker process; a plain class that the pool turns into a Ray actor."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import ray

from orchestrator.measurement import device
from sweeps.timing import TimingResult, TimingSpec
from sweeps.trial import FailureKind, Head, TrialResult, TrialSpec, TrialState

Runner = Callable[..., TrialResult]
"""From a trial, and a head where there is one, to its result; ``small_batches=True`` comes only
after memory was short."""
Timer = Callable[[TimingSpec], TimingResult]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def thread_environment(cpus: float) -> dict[str, str]:
    """Environment of a worker of ``cpus``; numeric libraries read it once, when imported."""
    return dict.fromkeys(THREAD_VARIABLES, str(max(1, int(cpus))))


def named(name: str) -> Any:
    """The object that ``module:attribute`` names.

    Names cross process borders, objects do not. Raises ValueError that says what is missing.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name!r} does not name anything: {error}") from error


class Worker:
    """Runs trials one after the other; what the runner caches stays warm between them."""

    def __init__(self, runner: str, timer: str) -> None:
        self._runner, self._timer = runner, timer

    def prepare(self) -> tuple[str, tuple[str, ...], str]:
        """Import the runner; returns the worker's name, the devices that it computes on, and Ray's
        id of its node."""
        self._run: Runner = named(self._runner)
        name = f"{platform.node()}:{os.getpid()}"
        return name, device.devices(), ray.get_runtime_context().get_node_id()

    def run(
        self,
        specs: Sequence[TrialSpec],
        heads: Mapping[str, Head] | None = None,
        *,
        small_batches: bool = False,
        alone: bool = False,
    ) -> list[TrialResult]:
        """One result per spec, in order; an exception is a result too. ``heads`` by trial id.

        ``alone`` keeps other sweeps off the device meanwhile, as for a timing.
        """
        options = {"small_batches": True} if small_batches else {}
        with (device.alone if alone else device.shared)(device.devices()):
            return [self._run_one(spec, (heads or {}).get(spec.id), options) for spec in specs]

    def make_room(self) -> None:
        """Forget what is kept for the next trial, because another worker needs the memory."""
        runner = sys.modules.get("orchestrator.measurement.trial")
        if runner is not None:
            runner.let_go()

    def time(self, specs: Sequence[TimingSpec]) -> list[TimingResult]:
        """One result per spec, with the device to itself as far as sweeps go.

        Whoever calls sees to it that no other worker of the same pool has a job there; other pools
        wait, or are waited for.
        """
        with device.alone(device.devices()):
            return [self._time_one(spec) for spec in specs]

    def _run_one(
        self, spec: TrialSpec, head: Head | None, options: Mapping[str, bool]
    ) -> TrialResult:
        started_at, started = datetime.now(UTC), time.perf_counter()
        try:
            return self._run(spec, *([] if head is None else [head]), **options)
        except Exception as error:
            summary = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            seconds = time.perf_counter() - started
            worker = f"{platform.node()}:{os.getpid()}"
            return failed(spec, FailureKind.BUG, summary, started_at, seconds, worker)

    def _time_one(self, spec: TimingSpec) -> TimingResult:
        started_at, started = datetime.now(UTC), time.perf_counter()
        timer: Timer = named(self._timer)
        try:
            return replace(timer(spec), in_lane=True)
        except Exception as error:
            summary = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            seconds = time.perf_counter() - started
            worker = f"{platform.node()}:{os.getpid()}"
            return failed_timing(spec, FailureKind.BUG, summary, started_at, seconds, worker)


def failed_timing(
    spec: TimingSpec,
    failure: FailureKind,
    error: str,
    started_at: datetime,
    seconds: float,
    worker: str,
) -> TimingResult:
    """A timing without numbers."""
    return TimingResult(
        trial_id=spec.trial.id,
        batch=spec.batch,
        started_at=started_at,
        seconds=seconds,
        worker=worker,
        device=worker.partition(":")[0],
        failure=failure,
        error=error,
    )


def failed(
    spec: TrialSpec,
    failure: FailureKind,
    error: str,
    started_at: datetime,
    seconds: float,
    worker: str,
) -> TrialResult:
    """A result without numbers."""
    return TrialResult(
        trial_id=spec.id,
        state=TrialState.FAILED,
        started_at=started_at,
        seconds=seconds,
        worker=worker,
        failure=failure,
        error=error,
    )
