"""A small sweep, really measured, with all that can happen to a trial."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.measurement.trial import run_trial
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan
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
    spec = load_sweep(file)
    planned = plan(spec)
    store = Store(f"sqlite:///{folder}/paretoken.db")
    impossible = [each._asdict() for each in planned.impossible]
    store.begin_sweep(spec.name, SWEEP, spec.resolved(), planned.trials, impossible)
    *first, last = planned.trials
    store.record([*(run_trial(trial.spec) for trial in first), failed(last.spec)])
    return store
