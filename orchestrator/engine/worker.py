"""What runs inside a worker process; a plain class that the pool turns into a Ray actor."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from orchestrator.engine import device
from orchestrator.engine.breakdown import Breakdown
from orchestrator.measurement.provenance import process_name
from sweeps.timing import TimingResult, TimingSpec
from sweeps.trial import Head, TrialResult, TrialSpec

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
        return process_name(), device.devices(), ray.get_runtime_context().get_node_id()

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
        started = time.perf_counter()
        try:
            return self._run(spec, *([] if head is None else [head]), **options)
        except Exception as error:
            return Breakdown.by(error, time.perf_counter() - started).of_trial(spec)

    def _time_one(self, spec: TimingSpec) -> TimingResult:
        started = time.perf_counter()
        timer: Timer = named(self._timer)
        try:
            return replace(timer(spec), in_lane=True)
        except Exception as error:
            return Breakdown.by(error, time.perf_counter() - started).of_timing(spec)
