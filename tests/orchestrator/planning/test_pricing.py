"""What a plan is to cost is what running it would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.planning.pricing import price
from orchestrator.search.searching import GridSearch
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.trial import FailureKind, TrialState
from tests.store.examples import failed, finished

SWEEP = """
name: priced
keep: [1.0, 0.5]
measure: {latency_pairs: 0}
workloads:
  digits:
    task: {id: digits, num_examples: 8}
    backbone: vit-digits
    methods: [tome, evit]
"""


def test_what_turned_out_to_be_impossible_is_not_paid_for_again(tmp_path: Path) -> None:
    spec = parse_sweep(SWEEP, str(tmp_path / "sweep.yaml"))
    planned = plan(spec)
    with Store(f"sqlite:///{tmp_path}/results.db") as store:
        before = price(spec, planned, store, None)
        store.begin_sweep("priced", "", spec.resolved(), planned.trials, [])
        first, second = (planned.trials[number].spec for number in range(2))
        impossible = replace(failed(second, FailureKind.INFEASIBLE), state=TrialState.INFEASIBLE)
        store.record([finished(first), impossible])
        after = price(spec, planned, store, None)
        to_run = GridSearch(store, planned).begin()
    assert before["new"] == len(planned.trials)
    assert after["new"] == len(to_run) == len(planned.trials) - 2
    assert (after["reused"], after["num_impossible"]) == (1, before["num_impossible"] + 1)
