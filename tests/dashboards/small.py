"""A small sweep, really measured, with all that can happen to a trial."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.measurement.trial import run_trial
from store.repository import Store
from tests.measured import begun
from tests.store.examples import failed

HOSTILE = "50 % of <b>x_y</b> & {z} | `w` \\ #1 ~^$"
SWEEP = f"""
name: quickstart
description: {json.dumps(HOSTILE)}
keep: [1.0, 0.5, 0.25]
seeds: [0, 1]
workloads:
  digits:
    task: {{id: digits, num_examples: 8}}
    backbone: vit-digits
    methods: [identity, tome, random]
measure: {{latency_pairs: 0}}
"""


def measured(folder: Path) -> Store:
    """The sweep ``quickstart``: its last trial failed, and some combinations cannot run."""
    file = folder / "quickstart.yaml"
    file.write_text(SWEEP)
    store = Store(f"sqlite:///{folder}/paretoken.db")
    *first, last = begun(store, file).trials
    store.record([*(run_trial(trial.spec) for trial in first), failed(last.spec)])
    return store
