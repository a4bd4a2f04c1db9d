"""Run one trial: a plain function without Ray that pool, server, notebook and test all call."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import statistics
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from methods import registry as methods_registry
from methods.backbones.base import Backbone, Compression, watched_history
from methods.backbones.registry import adapter_for
from methods.base import Method
from methods.infeasible import MissingHereError
from orchestrator.measurement.cost import Cost, measure_cost
from orchestrator.measurement.failing import failure_of, free_memory, state_of, where_not_finite
from orchestrator.measurement.provenance import process_name, revision
from sweeps.models import location, missing, unchanged
from sweeps.tasks import registry as tasks_registry
from sweeps.tasks.base import Task
from sweeps.trial import (
    AnyWeights,
    FailureKind,
    Head,
    Metrics,
    RandomWeights,
    TrialResult,
    TrialSpec,
    TrialState,
    Weights,
)

PACKAGES = ("paretoken", "torch", "transformers", "numpy")
SMALLER = 4
"""Into how many parts a batch is split at least, where memory is short."""
EXTRAS = ("kvpress",)
"""Noted where an environment has them."""


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


def build_task(spec: TrialSpec) -> Task[Any, Any]:
    """The task of a trial, with its parameters."""
    return tasks_registry.build(spec.task.id, spec.task.params)


def build_method(spec: TrialSpec) -> Method:
    """The method of a trial, with its hyperparameters."""
    return methods_registry.build(spec.method.id, spec.method.params)


@cache
def device_label() -> str:
    """The device of this process, for people: node, and CPU or GPU."""
    if not torch.cuda.is_available():
        return f"{platform.node()}/cpu"
    return f"{platform.node()}/gpu-{torch.cuda.get_device_properties().uuid}"


@cache
def environment() -> dict[str, Any]:
    """What besides the spec may explain a number: code, versions, machine, device, threads."""
    cuda = torch.cuda.is_available()
    commit, dirty = revision()
    return {
        "revision": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name) for name in (*PACKAGES, *filter(find_spec, EXTRAS))
        },
        "platform": platform.platform(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
    }


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


def compressed(backbone: Backbone, spec: TrialSpec) -> AbstractContextManager[Compression]:
    """A block in which the model is compressed as the trial says."""
    return backbone.compressed(build_method(spec), spec.schedule, spec.keep_ratio, spec.seed)


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


def open_backbone(weights: AnyWeights) -> Backbone:
    """The model, on the GPU if this process may use one.

    Raises MissingHereError if this node lacks the files or they are no longer those that were
    planned: numbers would be recorded under the name of others.
    """
    if (folder := missing(weights)) is not None:
        raise MissingHereError(
            f"the weights of {weights.name} are not on {platform.node()}: {folder} has to be on "
            "every node, or name a hub id"
        )
    if not unchanged(weights):
        raise MissingHereError(
            f"the weights of {weights.name} changed since the plan; run it again"
        )
    transformers_logging.disable_progress_bar()
    backbone = _drawn(weights) if isinstance(weights, RandomWeights) else _loaded(weights)
    backbone.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return backbone


def _loaded(weights: Weights) -> Backbone:
    path = location(weights)
    config = AutoConfig.from_pretrained(path, revision=weights.revision, trust_remote_code=False)
    adapter = adapter_for({"architectures": config.architectures})
    return adapter.load(path, weights.revision, getattr(torch, weights.dtype))


def _drawn(weights: RandomWeights) -> Backbone:
    config = json.loads(weights.config)
    return adapter_for(config).drawn(config, getattr(torch, weights.dtype), weights.seed)


def warm_backbone(weights: AnyWeights) -> Backbone:
    """The model, as this process holds it already or opened and kept."""
    if isinstance(weights, Weights):
        return _opened(weights)
    if weights not in _DRAWN:
        _DRAWN.clear()  # at true scale, memory may not hold two
        _DRAWN[weights] = open_backbone(weights)
    return _DRAWN[weights]


@lru_cache(maxsize=2)
def _opened(weights: Weights) -> Backbone:
    return open_backbone(weights)


_DRAWN: dict[RandomWeights, Backbone] = {}
"""The model with random weights that this process used last."""


def let_go() -> None:
    """Forget models and data that are held for the next trial: another one needs the memory."""
    for held in (_opened, _baseline_cost):
        held.cache_clear()
    _DRAWN.clear()
    free_memory()
