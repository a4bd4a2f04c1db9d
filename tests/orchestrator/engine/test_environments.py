"""Trials go to the interpreter that they need, and come back with the numbers of that one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from methods.kvpress import _environment
from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.environments import by_interpreter
from orchestrator.engine.events import PoolReport
from orchestrator.engine.pool import run_pool
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan

SWEEP = """
name: presses
workloads:
  recall:
    task: {id: recall, question: unknown, num_examples: 16, batch_size: 8}
    backbone: llama-recall
keep: [1, 0.5]
measure: {latency_pairs: 0}
methods:
  - keydiff
  - kvpress/KeyDiffPress
  - {kvpress/AdaKVPress: {press: KeyDiffPress}}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setenv(_environment.VARIABLE, _environment.interpreter() or "/there/python")
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    return load_sweep(file)


def test_only_presses_need_another_interpreter(sweep):
    groups = by_interpreter(trial.spec for trial in plan(sweep).trials)
    ids = [[spec.method.id for spec in group] for group in groups.values()]
    assert ids == [["identity", "keydiff"], ["kvpress/KeyDiffPress", "kvpress/AdaKVPress"]]
    assert list(groups) == [None, _environment.interpreter()]


def test_two_runs_add_up():
    first = PoolReport(workers=2, seconds=3, finished=4, busy_seconds={"a": 2})
    second = PoolReport(workers=1, seconds=1, failed=1, busy_seconds={"b": 1}, interrupted=True)
    both = first + second
    assert (both.workers, both.seconds, both.finished, both.failed) == (2, 4, 4, 1)
    assert both.utilisation == 3 / 8
    assert both.interrupted


def test_every_count_of_two_runs_adds_up():
    counts = {each.name: 1 for each in fields(PoolReport) if each.type in ("int", "float")}
    both = PoolReport(**counts) + PoolReport(**counts)
    assert {name: getattr(both, name) for name in counts} == {
        name: 1 if name == "workers" else 2 for name in counts
    }


@pytest.mark.timeout(900)
def test_a_press_gives_the_answers_of_our_own_method(sweep, tmp_path):
    """With the question unknown both read the same prompt and keep the same entries."""
    python = _environment.interpreter()
    assert python is not None
    if not Path(python).exists():
        pytest.skip("no environment with kvpress; 'make kvpress' builds it")
    planned = plan(sweep).trials
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url) as store:
        store.begin_sweep(sweep.name, "", sweep.resolved(), planned, [])
    with cluster(num_cpus=1):
        for interpreter, specs in by_interpreter(t.spec for t in planned).items():
            report = run_pool(
                specs,
                url,
                resources=Resources(workers=1),
                python=interpreter,
                ledger="tests.orchestrator.ledgers:SqlLedger",
            )
            assert report.finished == len(specs)
    with Store(url) as store:
        points = {point.method: point for point in store.points(sweep.name)}
        answers = {name: store.outcomes(p.trial)["outcome"].tolist() for name, p in points.items()}
    ours, theirs = points["keydiff"], points["kvpress/KeyDiffPress"]
    masked = points["kvpress/AdaKVPress"]
    assert points["identity"].metrics["kv_bytes"] == 2 * theirs.metrics["kv_bytes"]
    assert answers["keydiff"] == answers["kvpress/KeyDiffPress"]
    assert ours.metrics["kv_bytes"] == theirs.metrics["kv_bytes"]
    assert theirs.metrics["kv"] == 0.5
    assert masked.metrics["kv"] == 1.0, "kvpress masks, and saves no byte"
    assert "kv" in masked.simulated
    assert not theirs.simulated
