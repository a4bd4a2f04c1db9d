"""Time one trial at one batch size: a plain function without Ray, like a trial's own.

Whoever calls it says whether the device was its own: a worker in the measurement lane does, a
notebook cannot.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import torch

from methods.backbones.base import Backbone
from methods.base import InfeasibleError
from orchestrator.measurement import models
from orchestrator.measurement.energy import joules_of
from orchestrator.measurement.environment import device_label, environment
from orchestrator.measurement.failing import failure_of
from orchestrator.measurement.latency import PairedLatency, measure_latency, percentile, seconds_of
from orchestrator.measurement.provenance import process_name
from orchestrator.measurement.surroundings import watched
from sweeps.tasks.base import Task
from sweeps.times import Times
from sweeps.timing import TimingResult, TimingSpec

WARM_UPS: Final = {"cpu": 1, "cuda": 3}
"""Runs of each before timing: kernels are chosen, caches filled, clocks raised."""
TAIL: Final = 0.95


def run_timing(spec: TimingSpec) -> TimingResult:
    """Time the compressed model beside the uncompressed one, in this process.

    Only forward passes are timed: models are compressed, and prompts prepared, before the clock
    starts. An expected failure comes back as a result. The result says that it was taken outside
    the lane.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    measured: dict[str, Any]
    try:
        measured = _measured(spec)
    except Exception as error:
        measured = failure_of(error)
    return TimingResult(
        trial_id=spec.trial.id,
        batch=spec.batch,
        started_at=started_at,
        seconds=time.perf_counter() - started,
        worker=process_name(),
        device=device_label(),
        environment=environment(),
        **measured,
    )


@dataclass
class _Runs:
    """Runs of one batch, compressed or not."""

    backbone: Backbone
    task: Task[Any, Any]
    spec: TimingSpec
    sample: Any
    compressor: list[tuple[float, float]] = field(default_factory=list)
    """Seconds in the method, and of the run, for every compressed run."""

    def baseline(self) -> float:
        """Seconds of an uncompressed run."""
        return seconds_of(self._run, self.backbone.device)

    def variant(self) -> float:
        """Seconds of a compressed run."""
        with models.compressed(self.backbone, self.spec.trial) as compression:
            seconds = seconds_of(self._run, self.backbone.device)
        self.compressor.append((compression.seconds, seconds))
        return seconds

    def _run(self) -> None:
        self.task.outcomes(self.backbone, self.sample)


def _measured(spec: TimingSpec) -> dict[str, Any]:
    backbone, task = models.warm_backbone(spec.trial.backbone), models.build_task(spec.trial)
    sample = task.cost_batch(backbone, spec.batch)
    if len(sample) != spec.batch != spec.trial.measure.batch:
        size = len(sample)
        raise InfeasibleError(f"{task.id} has {size} examples in a batch, not {spec.batch}")
    runs = _Runs(backbone, task, spec, sample)
    pairs, kind = spec.trial.measure.latency_pairs, backbone.device.type
    with task.prepared(backbone, sample):
        for _ in range(WARM_UPS[kind]):
            runs.baseline(), runs.variant()
        with watched() as watch:
            paired = measure_latency(runs.baseline, runs.variant, pairs)
        timed = runs.compressor[-pairs:]
        memory, energy = _memory(runs), _energy(runs)
    size = len(sample)
    times = Times(
        **_latencies(paired, size),
        compressor_seconds=statistics.median(mine for mine, _ in timed) / size,
        compressor_share=statistics.median(mine / whole for mine, whole in timed),
        **memory,
        **energy,
    )
    return {"times": times, "disturbed": watch.disturbed, "conditions": watch.conditions}


def _latencies(paired: PairedLatency, size: int) -> dict[str, float | int]:
    interval = paired.interval
    slow, slow_baseline = (percentile(each, TAIL) for each in (paired.variant, paired.baseline))
    return {
        "latency": paired.ratio,
        "latency_low": interval.low,
        "latency_high": interval.high,
        "latency_confidence": interval.confidence,
        "latency_pairs": len(paired.variant),
        "latency_p95": slow / slow_baseline,
        "latency_seconds": statistics.median(paired.variant) / size,
        "latency_p95_seconds": slow / size,
        "baseline_seconds": statistics.median(paired.baseline) / size,
    }


def _memory(runs: _Runs) -> dict[str, Any]:
    """Peak memory of a run on a GPU; nothing elsewhere."""
    if runs.backbone.device.type != "cuda":
        return {}
    baseline, variant = (_peak(run, runs.backbone.device) for run in (runs.baseline, runs.variant))
    return {"device_memory": variant / baseline, "device_bytes": variant}


def _peak(run: Callable[[], float], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def _energy(runs: _Runs) -> dict[str, float]:
    """Energy of a run where something reports it; nothing elsewhere."""
    baseline = joules_of(runs.baseline, runs.backbone.device)
    variant = joules_of(runs.variant, runs.backbone.device)
    if not baseline or not variant:
        return {}
    return {"energy": variant / baseline, "energy_joules": variant / len(runs.sample)}
