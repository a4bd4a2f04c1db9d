"""A sweep to ask questions of, recorded in a store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from store.repository import Store
from sweeps.trial import Named, TrialSpec
from tests.store.examples import STARTED, finished, spec

NUM = 60
SEEDS = (0, 1)
KEEPS = (0.5, 0.25)
BASE = (np.random.default_rng(0).random((2, NUM)) < 0.9).astype(float)
"""Outcomes of the uncompressed model by seed."""


def trial(method: str, keep_ratio: float, seed: int, task: str = "digits") -> TrialSpec:
    named = Named(id=method, version=1, params={})
    changes = {"method": named, "task": Named(id=task, version=1, params={})}
    return spec(seed=seed, keep_ratio=keep_ratio).model_copy(update=changes)


def outcomes(method: str, keep_ratio: float, seed: int) -> list[float]:
    """tome breaks the first example, and at 0.25 the first five; random breaks half of them."""
    values = BASE[seed].copy()
    if method == "tome":
        values[: 1 if keep_ratio == 0.5 else 5] = 0
    if method == "random":
        values[::2] = 0
    return [float(value) for value in values]


def record(store: Store) -> str:
    """Accuracy over FLOPs with two seeds; bits over KV bytes, in clusters, without a baseline."""
    rng = np.random.default_rng(1)
    grid = [("identity", 1.0), *((m, k) for m in ("tome", "random") for k in KEEPS)]
    digits = [trial(method, keep, seed) for seed in SEEDS for method, keep in grid]
    text = [trial("tome", keep, 0, "text") for keep in KEEPS]
    objectives = {
        "digits": {"quality": "maximize", "flops": "minimize"},
        "text": {"quality": "minimize", "kv": "minimize"},
    }
    workloads = {name: {"objectives": each} for name, each in objectives.items()}
    planned = [("digits", str(each.keep_ratio), each) for each in digits]
    planned += [("text", str(each.keep_ratio), each) for each in text]
    store.begin_sweep("asked", "", {"workloads": workloads}, planned, [])
    results = []
    for number, each in enumerate(digits):
        values = outcomes(each.method.id, each.keep_ratio, each.seed)
        result = finished(each, quality=float(np.mean(values)), flops=each.keep_ratio)
        started = STARTED + timedelta(seconds=10 * number)
        results.append(replace(result, outcomes=values, started_at=started, seconds=5.0))
    for each in text:
        bits = [float(value) for value in rng.gamma(3, 1, NUM) / each.keep_ratio]
        result = finished(each, quality=float(np.mean(bits)), kv=each.keep_ratio)
        clusters = [index // 10 for index in range(NUM)]
        results.append(replace(result, outcomes=bits, clusters=clusters))
    store.record(results)
    return "asked"
