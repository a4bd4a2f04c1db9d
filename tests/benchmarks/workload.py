"""A trial of known length: matrix products on one thread, as many as the spec says."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime

import torch

from methods.schedule import Uniform
from sweeps.trial import Metrics, Named, TrialResult, TrialSpec, TrialState, Weights

WIDTH = 192
NUM_OUTCOMES = 256


def spec(seed: int, steps: int) -> TrialSpec:
    """One trial of ``steps`` products."""
    return TrialSpec(
        task=Named(id="benchmark", version=1),
        data="none",
        backbone=Weights(name="matmul", path="matmul", fingerprint="none"),
        method=Named(id="matmul", version=1, params={"steps": steps}),
        schedule=Uniform(),
        keep_ratio=1.0,
        seed=seed,
    )


def compute(seed: int, steps: int) -> torch.Tensor:
    """The work: ``NUM_OUTCOMES`` numbers in [0, 1] that depend on every product."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    state = torch.eye(WIDTH)
    for _ in range(steps):
        state = torch.tanh(factor @ state)
    return state.flatten()[:NUM_OUTCOMES].sigmoid()


def steps_for(seconds: float) -> int:
    """Products that take one undisturbed thread this long; measured in CPU time."""
    torch.set_num_threads(1)
    compute(0, 200)
    rates = []
    for _ in range(5):
        started = time.process_time()
        compute(0, 1000)
        rates.append(1000 / (time.process_time() - started))
    return round(max(rates) * seconds)


def run(trial: TrialSpec) -> TrialResult:
    """Compute, and report it the way a real trial does."""
    started_at, started = datetime.now(UTC), time.perf_counter()
    outcomes = compute(trial.seed, int(str(trial.method.params["steps"])))
    metrics = Metrics(
        quality=outcomes.mean().item(),
        quality_se=outcomes.std().item() / NUM_OUTCOMES**0.5,
        num_examples=NUM_OUTCOMES,
        tokens=1.0,
        tokens_per_layer=[WIDTH],
        flops=1.0,
        flops_per_example=2.0 * WIDTH**3,
        kv=None,
        kv_bytes=None,
        peak_memory=1.0,
        peak_bytes=3 * 4 * WIDTH**2,
        compressor_seconds=0.0,
        compressor_share=0.0,
        latency=None,
        latency_low=None,
        latency_high=None,
        latency_seconds=None,
    )
    return TrialResult(
        trial_id=trial.id,
        state=TrialState.FINISHED,
        started_at=started_at,
        seconds=time.perf_counter() - started,
        worker=f"{platform.node()}:{os.getpid()}",
        metrics=metrics,
        outcomes=outcomes.tolist(),
    )
