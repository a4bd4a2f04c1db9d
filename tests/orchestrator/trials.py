"""Small trials for the engine, and functions that run them well or badly.

Workers import these functions by name, so this file imports little.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from methods.schedule import Uniform
from orchestrator.measurement.provenance import process_name
from sweeps.times import Times
from sweeps.timing import TimingResult, TimingSpec
from sweeps.trial import (
    MeasureSpec,
    Metrics,
    Named,
    TrialResult,
    TrialSpec,
    TrialState,
    Weights,
)


def specs(count: int, backbones: int = 1, **params: str | float) -> list[TrialSpec]:
    """Trials that differ in their seed, spread evenly over some backbones."""
    return [
        TrialSpec(
            task=Named(id="recall", version=1),
            data="engine",
            backbone=Weights(name="b", path=f"b{i % backbones}", fingerprint=f"f{i % backbones}"),
            method=Named(id="random", version=1, params=dict(params)),
            schedule=Uniform(),
            keep_ratio=0.5,
            seed=i,
            measure=MeasureSpec(latency_pairs=0),
        )
        for i in range(count)
    ]


def measure(spec: TrialSpec) -> TrialResult:
    """Numbers that depend on the spec alone."""
    started_at, started = datetime.now(UTC), time.perf_counter()
    draws = np.random.default_rng(spec.seed).random(32)
    return result(spec, started_at, time.perf_counter() - started, draws.tolist())


def result(
    spec: TrialSpec, started_at: datetime, seconds: float, outcomes: list[float]
) -> TrialResult:
    """A finished trial with these outcomes per example."""
    return TrialResult(
        trial_id=spec.id,
        state=TrialState.FINISHED,
        started_at=started_at,
        seconds=seconds,
        worker=process_name(),
        metrics=metrics(spec, outcomes),
        outcomes=outcomes,
    )


def metrics(spec: TrialSpec, outcomes: list[float]) -> Metrics:
    """Made up, but for the quality."""
    return Metrics(
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
        compressor_seconds=0.0,
        compressor_share=0.0,
    )


def noted(spec: TrialSpec) -> TrialResult:
    """Leave a line with the process id per attempt in the folder that the spec names."""
    folder = Path(str(spec.method.params["folder"]))
    with (folder / f"{spec.seed}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(float(spec.method.params.get("seconds", 0.0)))  # type: ignore[arg-type]
    return measure(spec)


def timed(spec: TimingSpec) -> TimingResult:
    """Numbers without any timing; takes as long as the spec says."""
    started_at, started = datetime.now(UTC), time.perf_counter()
    time.sleep(float(spec.trial.method.params.get("timing", 0.0)))  # type: ignore[arg-type]
    return TimingResult(
        trial_id=spec.trial.id,
        batch=spec.batch,
        started_at=started_at,
        seconds=time.perf_counter() - started,
        worker=process_name(),
        device="node/cpu",
        times=Times(latency=0.5, latency_low=0.4, latency_high=0.6, latency_pairs=9),
    )


def timed_once_dead(spec: TimingSpec) -> TimingResult:
    """The first timing of seed 3 takes its worker down."""
    mark = Path(str(spec.trial.method.params["folder"])) / "died"
    if spec.trial.seed == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return timed(spec)


def timed_by_death(spec: TimingSpec) -> TimingResult:
    """Seed 3 always takes its worker down."""
    if spec.trial.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return timed(spec)


def timed_for_ever(spec: TimingSpec) -> TimingResult:
    """Seed 3 never ends."""
    while spec.trial.seed == 3:
        time.sleep(0.1)
    return timed(spec)


def deadly(spec: TrialSpec) -> TrialResult:
    """Seed 3 always takes its worker down."""
    if spec.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(spec)


def endless(spec: TrialSpec) -> TrialResult:
    """Seed 3 never ends, and does not listen to anything."""
    while spec.seed == 3:
        pass
    return measure(spec)


def faulty(spec: TrialSpec) -> TrialResult:
    """Seed 3 lets an exception out."""
    if spec.seed == 3:
        raise KeyError("no such thing")
    return measure(spec)


def threads(spec: TrialSpec) -> TrialResult:
    """How many threads torch would use."""
    import torch

    return result(spec, datetime.now(UTC), 0.0, [float(torch.get_num_threads())] * 2)


def located(spec: TrialSpec) -> TrialResult:
    """Leave a line with the node per attempt; from seed ``gate`` on, wait for the file ``go``."""
    import ray

    folder = Path(str(spec.method.params["folder"]))
    with (folder / f"{spec.seed}").open("a") as file:
        file.write(f"{ray.get_runtime_context().get_node_id()}\n")
    while spec.seed >= float(spec.method.params.get("gate", spec.seed + 1)):  # type: ignore[arg-type]
        if (folder / "go").exists():
            break
        time.sleep(0.02)
    time.sleep(float(spec.method.params.get("seconds", 0.0)))  # type: ignore[arg-type]
    return measure(spec)
