"""Points of a small sweep over two workloads, with every number that a trial has."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from store.frontiers.frontier import Objectives
from store.records import Point

OBJECTIVES: dict[str, Objectives] = {
    "digits": {"quality": "maximize", "flops": "minimize"},
    "recall": {"quality": "maximize", "kv": "minimize"},
}
METHODS = {
    "digits": {"tome": 0.9, "random": 0.5},
    "recall": {"snapkv": 0.95, "random": 0.4},
}
"""How much of the quality at keep 1 a method has left at keep 0."""
SEEDS = (0, 1, 2)
KEEPS = (0.5, 0.1)


def point(
    workload: str = "digits",
    method: str = "tome",
    *,
    keep: float = 0.5,
    seed: int = 0,
    schedule: str = "uniform",
    hyperparameters: dict[str, Any] | None = None,
    **metrics: float | None,
) -> Point:
    """One finished trial; ``metrics`` replace those that belong to its keep ratio."""
    chosen = json.dumps(hyperparameters or {})
    identity = repr((workload, method, chosen, keep, seed, schedule))
    return Point(
        workload=workload,
        trial=hashlib.sha256(identity.encode()).hexdigest()[:16],
        method=method,
        hyperparameters_json=chosen,
        keep_ratio=keep,
        keep_label=f"{keep:g}",
        schedule=schedule,
        seed=seed,
        tokens_per_layer_json=json.dumps([64, int(64 * keep)]),
        spec_json="{}",
        simulated_json="[]",
        metrics=_metrics(workload, keep) | metrics,
        in_lane=True,
        device="node/cpu",
    )


def sweep() -> list[Point]:
    """Baselines, and two methods at two ratios, three seeds each: 30 points."""
    return [
        point(workload, method, keep=keep, seed=seed, quality=_quality(left, keep, seed))
        for workload, methods in METHODS.items()
        for seed in SEEDS
        for method, left, keeps in [
            ("identity", 1.0, (1.0,)),
            *((name, left, KEEPS) for name, left in methods.items()),
        ]
        for keep in keeps
    ]


def _quality(left: float, keep: float, seed: int) -> float:
    return 0.96 * (left + (1 - left) * keep) + 0.005 * seed


def _metrics(workload: str, keep: float) -> dict[str, int | float | None]:
    has_cache = workload == "recall"
    cost = 0.2 + 0.8 * keep
    return {
        "quality": 0.9,
        "quality_se": 0.0125,
        "num_examples": 256,
        "tokens": keep,
        "flops": cost,
        "flops_per_example": 3.2e7 * cost,
        "kv": keep if has_cache else None,
        "kv_bytes": int(262_144 * keep) if has_cache else None,
        "weights": 1.0,
        "weight_bytes": 886_784,
        "attended": None,
        "steps": None,
        "peak_memory": cost,
        "peak_bytes": int(9e6 * cost),
        "compressor_seconds": 1e-5,
        "compressor_share": 0.017,
        "latency": cost + 0.1,
        "latency_low": cost + 0.05,
        "latency_high": cost + 0.2,
        "latency_confidence": 0.961,
        "latency_pairs": 9,
        "latency_p95": cost + 0.15,
        "latency_seconds": 2e-3 * cost,
        "latency_p95_seconds": 2.2e-3 * cost,
        "baseline_seconds": 2e-3,
        "device_memory": None,
        "device_bytes": None,
        "energy": None,
        "energy_joules": None,
    }
