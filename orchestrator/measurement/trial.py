"""Run one trial: a plain function without Ray that pool, server, notebook and test all call."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

from methods.backbones.base import Backbone, Compression, watched_history
from orchestrator.measurement.cost import Cost, measure_cost
from orchestrator.measurement.environment import device_label, environment
from orchestrator.measurement.failing import failure_of, free_memory, state_of, where_not_finite
from orchestrator.measurement.models import (
    build_method,
    build_task,
    close_backbones,
    compressed,
    warm_backbone,
)
from orchestrator.measurement.provenance import process_name
from sweeps.tasks.base import Task
from sweeps.times import Times
from sweeps.trial import (
    AnyWeights,
    FailureKind,
    Head,
    Metrics,
    TrialResult,
    TrialSpec,
    TrialState,
)

SMALLER = 4
"""Into how many parts a batch is split at least, where memory is short."""


def run_trial(
    spec: TrialSpec, head: Head | None = None, *, small_batches: bool = False
) -> TrialResult:
    """Measure one trial; an expected failure comes back as a result and the process lives on.

    Stages, cheapest knowledge first: load, cost, quality. Model, data and the baseline's cost are
    kept for the next trial of this process. Apart from the compressor's time, which is taken while
    other trials run, the numbers depend on ``spec`` alone; a ``head`` saves work and changes none
    of them. Latency is another matter: :func:`orchestrator.measurement.timing.run_timing`.

    With ``small_batches`` answers are judged on a few examples at a time, as on a device that is
    short of memory. Costs are counted on the same batch as ever, so that they are the same numbers;
    outcomes are those of the same padded examples, equal up to the rounding of kernels that work
    differently on other shapes (within 1e-5 on a CPU in float32). Where a method draws at random
    anew for every pass or keeps something between passes, whole batches are judged all the same.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    measured: dict[str, Any]
    try:
        metrics, outcomes = _measure(spec, head, small_batches)
        measured = {"state": TrialState.FINISHED, "metrics": metrics, "outcomes": outcomes}
        measured["clusters"] = build_task(spec).clusters() if outcomes else []
    except Exception as error:
        measured = failure_of(error)
        measured["state"] = state_of(measured["failure"])
    if measured.get("failure") is FailureKind.OUT_OF_MEMORY:
        free_memory()
    return TrialResult(
        trial_id=spec.id,
        started_at=started_at,
        seconds=time.perf_counter() - started,
        worker=process_name(),
        device=device_label(),
        environment=environment() | ({"small_batches": True} if small_batches else {}),
        **measured,
    )


def _measure(
    spec: TrialSpec, head: Head | None, small_batches: bool
) -> tuple[Metrics, list[float]]:
    backbone, task = warm_backbone(spec.backbone), build_task(spec)
    sample = task.cost_batch(backbone, spec.measure.batch)
    if head is not None and len(sample) <= len(head.outcomes):
        return _continued(backbone, task, spec, head, small_batches)
    baseline = _baseline_cost(spec.backbone, task, spec.measure.batch)

    def run_baseline() -> Any:
        return _judge(backbone, task, sample)

    with compressed(backbone, spec) as compression, task.prepared(backbone, sample):
        cost = measure_cost(run_baseline)
        held = _Held.of(compression)
    outcomes, share, compressor_seconds = _judged(backbone, task, spec, small_batches)
    whole = baseline.held
    metrics = Metrics(
        **_quality(outcomes),
        num_examples=len(outcomes),
        tokens=sum(held.tokens_per_layer) / sum(whole.tokens_per_layer),
        tokens_per_layer=list(held.tokens_per_layer),
        flops=cost.flops / baseline.cost.flops,
        flops_per_example=cost.flops / len(sample),
        kv=held.kv_bytes / whole.kv_bytes if whole.kv_bytes else None,
        kv_bytes=held.kv_bytes if whole.kv_bytes else None,
        weights=held.weight_bytes / whole.weight_bytes,
        weight_bytes=held.weight_bytes,
        attended=held.attended,
        steps=held.steps / whole.steps if held.steps and whole.steps else None,
        peak_memory=cost.peak_bytes / baseline.cost.peak_bytes,
        peak_bytes=cost.peak_bytes,
        compressor_seconds=compressor_seconds,
        compressor_share=share,
        simulated=sorted(build_method(spec).simulated),
    )
    return metrics, outcomes


def _continued(
    backbone: Backbone, task: Task[Any, Any], spec: TrialSpec, head: Head, small_batches: bool
) -> tuple[Metrics, list[float]]:
    """The rest of a trial whose head was measured on the batch that costs are measured on.

    Whole batches of the head stand. A batch that was cut short is evaluated again, because its size
    may change what it gives; and so is everything where a method draws at random, which it does
    anew for every batch since the first, or keeps something from batch to batch. Presses of other
    libraries are not asked.
    """
    batches = task.batches()
    whole = len(head.outcomes) // task.batch_size if build_method(spec).environment is None else 0
    with watched_history() as history:
        outcomes, share, seconds = _run(backbone, task, spec, batches[whole:], small_batches)
    if whole and history.matters:
        outcomes, share, seconds = _run(backbone, task, spec, batches, small_batches)
    else:
        outcomes = [*head.outcomes[: whole * task.batch_size], *outcomes]
    changed = {
        **Times().model_dump(),  # the head may have been timed in the lane, this trial was not
        "num_examples": len(outcomes),
        "compressor_share": share,
        "compressor_seconds": seconds,
        **_quality(outcomes),
    }
    return head.metrics.model_copy(update=changed), outcomes


def _quality(outcomes: list[float]) -> dict[str, float | None]:
    if not outcomes:
        return {"quality": None, "quality_se": None}
    error = statistics.stdev(outcomes) / math.sqrt(len(outcomes))
    return {"quality": statistics.fmean(outcomes), "quality_se": error}


def _judged(
    backbone: Backbone, task: Task[Any, Any], spec: TrialSpec, small_batches: bool
) -> tuple[list[float], float | None, float | None]:
    """Outcome per example, the compressor's share of the time, its seconds per example.

    Nothing of it where quality is not asked for.
    """
    if not spec.measure.quality:
        return [], None, None
    return _run(backbone, task, spec, task.batches(), small_batches)


def _run(
    backbone: Backbone,
    task: Task[Any, Any],
    spec: TrialSpec,
    batches: list[Any],
    small_batches: bool,
) -> tuple[list[float], float, float]:
    """Outcomes of these batches, the compressor's share of the time, its seconds per example."""
    if not small_batches:
        return _run_whole(backbone, task, spec, batches)
    size = max(1, min(spec.measure.batch, task.batch_size // SMALLER))
    parts = [
        task.part_of(batch, start, start + size)
        for batch in batches
        for start in range(0, len(batch), size)
    ]
    with watched_history() as history:
        found = _run_whole(backbone, task, spec, parts)
    return _run_whole(backbone, task, spec, batches) if history.matters else found


def _run_whole(
    backbone: Backbone, task: Task[Any, Any], spec: TrialSpec, batches: list[Any]
) -> tuple[list[float], float, float]:
    started = time.perf_counter()
    with compressed(backbone, spec) as compression:
        outcomes = [value for batch in batches for value in _outcomes(backbone, task, batch)]
    seconds = time.perf_counter() - started
    if not all(map(math.isfinite, outcomes)):
        raise FloatingPointError("an outcome is not finite")
    return outcomes, compression.seconds / seconds, compression.seconds / len(outcomes)


def _outcomes(backbone: Backbone, task: Task[Any, Any], batch: Any) -> list[float]:
    with task.prepared(backbone, batch):
        outcomes: list[float] = _judge(backbone, task, batch).tolist()
    return outcomes


def _judge(backbone: Backbone, task: Task[Any, Any], batch: Any) -> Any:
    """Outcome per example. Raises FloatingPointError that says where a number was lost."""
    try:
        return task.outcomes(backbone, batch)
    except FloatingPointError as error:
        where = where_not_finite(backbone.model, lambda: task.outcomes(backbone, batch))
        raise FloatingPointError(f"{error}: {where}") from error


@dataclasses.dataclass(frozen=True)
class _Held:
    """What one block's record says; it outlives the block."""

    tokens_per_layer: tuple[int, ...]
    kv_bytes: int
    weight_bytes: int
    attended: float | None
    steps: float | None
    """Forward passes per new token."""

    @classmethod
    def of(cls, compression: Compression) -> _Held:
        return cls(
            tuple(compression.tokens_per_layer),
            compression.kv_bytes,
            compression.weight_bytes,
            compression.attended / compression.visible if compression.visible else None,
            compression.steps / compression.new_tokens if compression.new_tokens else None,
        )


@dataclasses.dataclass(frozen=True)
class _Baseline:
    cost: Cost
    held: _Held


@cache
def _baseline_cost(weights: AnyWeights, task: Task[Any, Any], batch: int) -> _Baseline:
    backbone = warm_backbone(weights)
    sample = task.cost_batch(backbone, batch)
    with backbone.uncompressed() as compression:
        cost = measure_cost(lambda: _judge(backbone, task, sample))
    return _Baseline(cost, _Held.of(compression))


def let_go() -> None:
    """Forget models and data that are held for the next trial: another one needs the memory."""
    _baseline_cost.cache_clear()
    close_backbones()
    free_memory()
