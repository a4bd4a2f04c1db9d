"""A trial of known length: matrix products on one thread, as many as the spec says."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import torch

from methods.schedule import Uniform
from sweeps.trial import Named, TrialResult, TrialSpec, Weights
from tests.orchestrator.trials import result

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
    return result(trial, started_at, time.perf_counter() - started, outcomes.tolist())
