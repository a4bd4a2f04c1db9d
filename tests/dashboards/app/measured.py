"""A small sweep that was really measured: two workloads of reference models, in this process."""

from __future__ import annotations

from pathlib import Path

from orchestrator.measurement.trial import run_trial
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan

YAML = """
name: small
seeds: [0]
keep: [1.0, 0.5, 0.25]
measure: {what: [quality, cost]}
workloads:
  digits:
    task: {id: digits, num_examples: 24, batch_size: 24}
    backbone: vit-digits
    methods: [attention-topk, tome, dpc-knn: {num_neighbors: [3, 5]}]
    schedules: [one-layer]
  recall:
    task: {id: recall, num_examples: 16, batch_size: 16}
    backbone: llama-recall
    methods: [streaming-llm]
"""


def measured_sweep(folder: Path) -> str:
    """The URL of a store in which every trial of the sweep has finished."""
    url = f"sqlite:///{folder}/paretoken.db"
    spec = parse_sweep(YAML)
    planned = plan(spec)
    with Store(url) as store:
        store.begin_sweep(spec.name, YAML, spec.resolved(), planned.trials, [])
        store.record([run_trial(trial.spec) for trial in planned.trials])
        store.end_sweep(spec.name, 1.0, 0.9, {})
    return url
