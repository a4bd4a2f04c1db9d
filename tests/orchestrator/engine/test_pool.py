"""Promises of the engine, kept on a real Ray cluster with real processes that really die."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.events import EventKind, PoolEvent
from orchestrator.engine.worker import thread_environment
from orchestrator.engine.writer import RecordingError
from store.repository import Store
from sweeps.trial import FailureKind, TrialSpec
from tests.orchestrator import trials
from tests.orchestrator.pools import recorded, run
from tests.orchestrator.trials import specs

LEDGERS = "tests.orchestrator.ledgers"


@pytest.fixture(scope="module", autouse=True)
def four_cpus() -> Iterator[None]:
    with cluster(num_cpus=4):
        yield


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


def attempts(folder: Path, spec: TrialSpec) -> int:
    return len((folder / str(spec.seed)).read_text().splitlines())


def pid_of(worker: str) -> int:
    return int(worker.rpartition(":")[2])


def test_results_are_the_same_for_one_two_and_four_workers_and_in_this_process(
    tmp_path: Path,
) -> None:
    planned = specs(120, backbones=3)
    expected = {spec.id: trials.measure(spec).outcomes for spec in planned}
    for workers in (1, 2, 4):
        url = f"sqlite:///{tmp_path}/{workers}.db"
        report = run(url, planned, "trials:measure", resources=Resources(cpus=0.5, workers=workers))
        assert (report.finished, report.failed, report.requeued) == (120, 0, 0)
        assert len(report.busy_seconds) == workers
        assert recorded(url) == expected


def test_killed_workers_lose_nothing_and_repeat_only_what_was_in_flight(
    url: str, tmp_path: Path
) -> None:
    planned = specs(40, folder=str(tmp_path), seconds=0.06)
    moments = random.Random(7).sample(range(3, 35), 3)
    killed: set[str] = set()
    num_recorded = 0

    def kill_now_and_then(event: PoolEvent) -> None:
        nonlocal num_recorded
        if event.result is not None:
            num_recorded += 1
            if num_recorded in moments and event.result.worker not in killed:
                killed.add(event.result.worker)
                os.kill(pid_of(event.result.worker), signal.SIGKILL)

    report = run(url, planned, "trials:noted", on_event=kill_now_and_then)
    assert killed
    assert report.workers_lost == len(killed)
    assert (report.finished, report.failed) == (40, 0)
    assert recorded(url).keys() == {spec.id for spec in planned}
    repeated = sum(attempts(tmp_path, spec) for spec in planned) - 40
    assert repeated <= 2 * len(killed)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_that_always_takes_its_worker_down_fails_and_the_rest_finish(
    url: str, workers: int
) -> None:
    resources = Resources(cpus=0.5, workers=workers)
    report = run(url, specs(12), "trials:deadly", resources=resources)
    assert (report.finished, report.failed) == (11, 1)
    with Store(url) as store:
        [failure] = store.failures("engine")
    assert (failure.seed, failure.kind) == (3, FailureKind.WORKER_DIED)
    assert "took down 3 workers" in failure.error


def test_a_trial_past_its_deadline_fails_and_the_rest_finish(url: str) -> None:
    report = run(url, specs(12), "trials:endless", trial_timeout_s=2.0)
    assert (report.finished, report.failed) == (11, 1)
    with Store(url) as store:
        [failure] = store.failures("engine")
    assert (failure.seed, failure.kind) == (3, FailureKind.TIMEOUT)


def test_an_exception_is_a_result_and_the_warm_worker_lives(url: str) -> None:
    report = run(url, specs(12), "trials:faulty")
    assert (report.finished, report.failed, report.workers_lost) == (11, 1, 0)
    with Store(url) as store:
        [failure] = store.failures("engine")
    assert (failure.seed, failure.kind) == (3, FailureKind.BUG)
    assert "KeyError: 'no such thing'" in failure.error


@pytest.mark.parametrize("ledger", ["DiesBeforeCommit", "DiesAfterCommit"])
def test_a_killed_writer_loses_nothing_and_records_nothing_twice(url: str, ledger: str) -> None:
    planned = specs(30)
    report = run(url, planned, "trials:measure", ledger=f"{LEDGERS}:{ledger}")
    assert (report.finished, report.writers_lost) == (30, 1)
    assert recorded(url) == {spec.id: trials.measure(spec).outcomes for spec in planned}


def test_results_that_cannot_be_recorded_end_the_run_with_the_cause(url: str) -> None:
    with pytest.raises(RecordingError, match="no space left on device"):
        run(url, specs(4), "trials:measure", ledger=f"{LEDGERS}:DiskFull")


def test_a_store_that_cannot_be_opened_ends_the_run_with_the_cause(url: str) -> None:
    with pytest.raises(PermissionError, match="the store is locked"):
        run(url, specs(4), "trials:measure", ledger=f"{LEDGERS}:Locked")


def test_resources_that_no_node_has_are_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"1 cpus and 1 gpus fits on no node .* 4 cpus and 0 gpus"):
        run(url, specs(4), "trials:measure", resources=Resources(gpus=1))
    with pytest.raises(ValueError, match="9 workers of 1 cpus were asked for; choices: 1 to 4"):
        run(url, specs(4), "trials:measure", resources=Resources(workers=9))
    with pytest.raises(ValueError, match="cpus must be above 0"):
        run(url, specs(4), "trials:measure", resources=Resources(cpus=0))


def test_a_runner_that_does_not_exist_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"'tests\.orchestrator\.trials:mesure' does not name"):
        run(url, specs(4), "trials:mesure")


def test_ctrl_c_records_what_is_done_and_the_next_run_does_the_rest(
    url: str, tmp_path: Path
) -> None:
    planned = specs(40, folder=str(tmp_path), seconds=0.05)

    def interrupt_soon(event: PoolEvent) -> None:
        seen.append(event.kind)
        if event.kind is EventKind.RECORDED and seen.count(event.kind) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    seen: list[EventKind] = []
    first = run(url, planned, "trials:noted", on_event=interrupt_soon)
    done = recorded(url)
    assert first.interrupted
    assert EventKind.STARTED not in seen[seen.index(EventKind.STOPPING) :]
    assert 5 <= first.finished == len(done) < 40
    second = run(url, [spec for spec in planned if spec.id not in done], "trials:noted")
    assert not second.interrupted
    assert first.finished + second.finished == 40
    finished_first = [spec for spec in planned if spec.id in done]
    assert all(attempts(tmp_path, spec) == 1 for spec in finished_first)


def test_workers_compute_with_as_many_threads_as_they_have_cpus(url: str) -> None:
    [spec] = specs(1)
    run(url, [spec], "trials:threads", resources=Resources(cpus=2))
    assert recorded(url)[spec.id] == [2.0, 2.0]
    assert set(thread_environment(0.25).values()) == {"1"}


def test_mlflow_has_every_trial_when_the_run_ends(url: str) -> None:
    from store.mirror.mlflow_mirror import MlflowMirror

    report = run(url, specs(6), "trials:measure", ledger="orchestrator.engine.writer:StoreLedger")
    assert report.mirror_error is None
    assert report.mirrored >= 6
    assert MlflowMirror(url).drain(100) == 0
