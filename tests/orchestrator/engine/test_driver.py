"""A driver beside another one of the same sweep whose file has grown meanwhile."""

from __future__ import annotations

from pathlib import Path

from orchestrator.engine.driver import _Lane
from orchestrator.engine.leasing import Leasing
from orchestrator.search.searching import GridSearch
from store.repository import Store
from sweeps.load import parse_sweep
from sweeps.plan import plan
from tests.store.examples import finished

SWEEP = """
name: grown
keep: [1.0, 0.5]
workloads:
  digits:
    task: {{id: digits, num_examples: 8}}
    backbone: vit-digits
    methods: [{methods}]
"""


def begin(store: Store, methods: str) -> GridSearch:
    spec = parse_sweep(SWEEP.format(methods=methods), "sweep.yaml")
    search = GridSearch(store, plan(spec))
    store.begin_sweep("grown", "", spec.resolved(), search.first_plan(), [])
    return search


def test_trials_that_only_another_driver_knows_are_timed_by_that_one(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/results.db") as store, Leasing(store, "grown") as leases:
        before, after = begin(store, "tome"), begin(store, "tome, evit")
        (new,) = {*after.trials} - {*before.trials}
        known = next(iter(before.trials))
        store.record([finished(after.trials[trial].spec) for trial in (known, new)])
        timed = {
            search: [spec.id for spec in _Lane(store, "grown", search, leases).trials()]
            for search in (before, after)
        }
    assert timed == {before: [known], after: [known, new]}
