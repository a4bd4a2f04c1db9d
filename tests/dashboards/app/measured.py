"""A small sweep that was really measured: two workloads of reference models, in this process."""

from __future__ import annotations

from pathlib import Path

from tests.measured import measured_store

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
    with measured_store(folder, YAML) as store:
        store.end_sweep("small", 1.0, 0.9, {})
        return store.url
