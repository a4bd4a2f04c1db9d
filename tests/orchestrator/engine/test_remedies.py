"""Every kind of failure meets its remedy, on real workers that really fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards import tables
from orchestrator.cluster.connection import cluster
from store.records import FailedAttempt
from store.repository import Store
from sweeps.failures import FailureKind, Remedy
from sweeps.trial import TrialState
from tests.orchestrator import failing_trials
from tests.orchestrator.pools import run
from tests.orchestrator.trials import specs

Done = list[tuple[FailureKind, Remedy | None]]


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    with cluster(num_cpus=2):
        yield


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


def attempts(url: str) -> dict[int, list[FailedAttempt]]:
    """By seed."""
    found: dict[int, list[FailedAttempt]] = {}
    with Store(url) as store:
        for attempt in store.failed_attempts("engine"):
            found.setdefault(attempt.seed, []).append(attempt)
    return found


def done(found: list[FailedAttempt]) -> Done:
    return [(each.kind, each.remedy) for each in found]


def test_short_of_memory_a_trial_runs_in_small_batches_then_alone_then_it_has_failed(
    url: str, tmp_path: Path
) -> None:
    planned = specs(10, folder=str(tmp_path))
    report = run(url, planned, "failing_trials:hungry")
    assert (report.finished, report.failed, report.remedied) == (9, 1, 5)
    assert report.workers_lost == 0
    memory = FailureKind.OUT_OF_MEMORY
    first, second = (memory, Remedy.SMALLER_BATCH), (memory, Remedy.ALONE)
    found = attempts(url)
    assert {seed: done(each) for seed, each in found.items()} == {
        1: [first],
        2: [first, second],
        3: [first, second, (memory, None)],
    }
    assert "can't allocate memory" in found[3][0].error
    assert all(each.device and each.device.endswith("/cpu") for each in found[3])
    begun, ended = map(float, failing_trials.lines(planned[3])[2].split())
    others = [
        tuple(map(float, line.split()))
        for spec in planned
        for line in failing_trials.lines(spec)[: 2 if spec.seed == 3 else None]
    ]
    assert all(end <= begun or start >= ended for start, end in others)


def test_a_trial_that_hangs_runs_once_more(url: str) -> None:
    report = run(url, specs(5), "trials:endless", trial_timeout_s=1.5)
    assert (report.finished, report.failed) == (4, 1)
    found = attempts(url)
    again = (FailureKind.TIMEOUT, Remedy.AGAIN)
    assert done(found.pop(3)) == [again, (FailureKind.TIMEOUT, None)]
    # On a busy machine the others may take as long, but not twice.
    assert [done(each) for each in found.values()] == [[again]] * len(found)
    assert report.workers_lost == 2 + len(found)


def test_every_worker_that_died_is_an_attempt_with_its_place(url: str) -> None:
    report = run(url, specs(5), "trials:deadly")
    assert (report.finished, report.failed) == (4, 1)
    found = attempts(url)
    blamed = found.pop(3)
    died, again = FailureKind.WORKER_DIED, (FailureKind.WORKER_DIED, Remedy.ELSEWHERE)
    assert done(blamed) == [again, again, (died, None)]
    assert len({each.worker for each in blamed}) == 3
    assert all(each.node and each.device == f"{each.node}/cpu" for each in blamed)
    # The result of the trial before may die with its worker on the way; it is suspected once.
    assert [done(each) for each in found.values()] == [[again]] * len(found)
    assert (report.remedied, report.workers_lost) == (2 + len(found), 3 + len(found))


def test_what_is_impossible_has_not_failed_and_status_says_what_there_is_to_do(
    url: str, tmp_path: Path
) -> None:
    planned = specs(5, folder=str(tmp_path))
    report = run(url, planned, "failing_trials:impossible")
    assert (report.finished, report.failed, report.infeasible) == (4, 0, 1)
    with Store(url) as store:
        assert store.infeasible(spec.id for spec in planned) == {planned[3].id}
        (row,) = json.loads(json.dumps(tables.status_rows(store, "engine")))
    counts = {name: row[name] for name in ("planned", "finished", "failed", "open", "impossible")}
    assert counts == {"planned": 4, "finished": 4, "failed": 0, "open": 0, "impossible": 1}
    (group,) = row["failure_groups"]
    assert (group["kind"], group["attempts"]) == ("infeasible", 1)
    assert group["trials"] == {TrialState.INFEASIBLE: 1}
    assert group["cause"] == "layer 13 does not exist: the model has 3 layers"
    assert "leave it out of the file" in group["advice"]
