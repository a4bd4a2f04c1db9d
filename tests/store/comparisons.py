"""Workloads to compare: points with outcomes, made up but complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from store.frontiers.bootstrap import Bootstrap, Floats
from store.frontiers.frontier import Objectives
from store.frontiers.paired import Paired, Resampled, pair
from store.records import METRIC_NAMES, Point
from store.serialization import ExampleOutcomes

QUALITY_AND_FLOPS: Objectives = {"quality": "maximize", "flops": "minimize"}
BITS_AND_KV: Objectives = {"quality": "minimize", "kv": "minimize"}


def point(method: str, seed: int = 0, **changes: Any) -> Point:
    """A finished trial; ``metrics`` that are not given are 1.0."""
    metrics: dict[str, float | None] = dict.fromkeys(METRIC_NAMES, 1.0)
    keep_ratio = changes.pop("keep_ratio", 1.0 if method == "identity" else 0.5)
    fields: dict[str, Any] = {
        "workload": "digits",
        "trial": f"{method}-{keep_ratio}-{seed}",
        "method": method,
        "hyperparameters_json": "{}",
        "keep_ratio": keep_ratio,
        "keep_label": f"{keep_ratio:g}",
        "schedule": "uniform",
        "seed": seed,
        "tokens_per_layer_json": "[1]",
        "spec_json": "{}",
        "simulated_json": "[]",
        "in_lane": True,
    }
    known = {name: changes.pop(name) for name in METRIC_NAMES if name in changes}
    return Point(**(fields | changes), metrics=metrics | known)


def paired(
    outcomes: ArrayLike,
    costs: Sequence[Mapping[str, float | None]],
    objectives: Objectives = QUALITY_AND_FLOPS,
    clusters: Sequence[int] | None = None,
    **fields: Sequence[Any],
) -> Paired:
    """Configurations m0, m1 ... from outcomes [P, E] or [P, S, E] and costs.

    ``fields`` are columns of points, such as ``method``.
    """
    values = np.asarray(outcomes, dtype=np.float64)
    values_PSE = values[:, None] if values.ndim == 2 else values
    points, stored = [], {}
    for index, values_SE in enumerate(values_PSE):
        own = {name: column[index] for name, column in fields.items()}
        method = own.pop("method", f"m{index}")
        for seed, values_E in enumerate(values_SE):
            quality = float(np.nanmean(values_E)) if np.isfinite(values_E).any() else 0.0
            each = point(method, seed, **own, **costs[index], quality=quality)
            points.append(each)
            named = None if clusters is None else np.asarray(clusters, dtype=np.int64)
            stored[each.trial] = ExampleOutcomes(values_E, named)
    return pair(points, stored, objectives)


def flops(*values: float | None) -> list[dict[str, float | None]]:
    """Costs in FLOPs."""
    return [{"flops": value} for value in values]


def resampled(comparison: Paired, **how: Any) -> Resampled:
    """With few resamples."""
    return Resampled(comparison, Bootstrap(**({"resamples": 200} | how)))


def right_or_wrong(rng: np.random.Generator, *shape: int, share: float = 0.7) -> Floats:
    """Outcomes of 0 and 1."""
    return (rng.random(shape) < share).astype(np.float64)
