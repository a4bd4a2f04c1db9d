"""A sweep on several machines, which come, go and differ: nodes of a cluster on this one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.events import PoolEvent
from orchestrator.engine.remedies import NODE_FAULTS
from store.repository import Store
from sweeps.failures import Remedy
from sweeps.trial import TrialSpec
from tests.orchestrator import trials
from tests.orchestrator.pools import recorded, run
from tests.orchestrator.trials import specs

MEMORY = 80 * 2**20
ATTEMPTS = 3


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """One that runs no trials, with this process as its driver."""
    started = Cluster()
    try:
        add(started, num_cpus=0)
        with cluster(started.address):
            yield started
    finally:
        started.shutdown()


@pytest.fixture
def nodes(head: Cluster) -> Iterator[Cluster]:
    """Those that a test adds go with it."""
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node)


def add(nodes: Cluster, **has: float) -> Any:
    """A node that has this; Ray gives it 30 s to start, which a busy machine may need twice."""
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            return nodes.add_node(object_store_memory=MEMORY, include_dashboard=False, **has)
        except Exception as error:
            if "timed out during startup" not in str(error) or not attempts_left:
                raise
    return None


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


def places(folder: Path, spec: TrialSpec) -> list[str]:
    """The node of every attempt."""
    file = folder / str(spec.seed)
    return file.read_text().split() if file.exists() else []


def test_nodes_come_and_go_in_mid_sweep_and_every_trial_ends_once(
    nodes: Cluster, url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir()
    planned = specs(40, folder=str(folder), seconds=0.06, gate=10)
    first = add(nodes, num_cpus=1)
    second: list[Any] = []
    done: set[str | None] = set()
    complete = threading.Event()

    def disturb(event: PoolEvent) -> None:
        if event.result is not None:
            done.add(event.trial_id)
        if len(done) == 5 and not second:
            second.append(add(nodes, num_cpus=2))
        if event.workers == 3:
            complete.set()

    def lose_the_first() -> None:
        """In the middle of a trial: those behind the gate run until it opens."""
        complete.wait(300)
        while not any(
            first.node_id in places(folder, spec) for spec in planned if spec.id not in done
        ):
            time.sleep(0.05)
        nodes.remove_node(first, allow_graceful=False)
        (folder / "go").touch()

    threading.Thread(target=lose_the_first, daemon=True).start()
    report = run(url, planned, "trials:located", resources=Resources(cpus=1), on_event=disturb)
    assert (report.finished, report.failed, report.workers) == (40, 0, 3)
    assert recorded(url) == {spec.id: trials.measure(spec).outcomes for spec in planned}
    attempts = [places(folder, spec) for spec in planned]
    assert 1 <= sum(map(len, attempts)) - 40 <= report.requeued
    assert {first.node_id, second[0].node_id} == {place for each in attempts for place in each}


def test_workers_go_only_where_what_they_need_is(nodes: Cluster, url: str, tmp_path: Path) -> None:
    add(nodes, num_cpus=4)
    gifted = add(nodes, num_cpus=1, num_gpus=1)
    planned = specs(12, folder=str(tmp_path))
    report = run(url, planned, "trials:located", resources=Resources(cpus=0.25, gpus=0.5))
    assert (report.finished, report.workers) == (12, 2)
    assert {place for spec in planned for place in places(tmp_path, spec)} == {gifted.node_id}
    with pytest.raises(ValueError, match=r"2 gpus fits on no node .* 1 cpus and 1 gpus"):
        run(url, planned, "trials:located", resources=Resources(gpus=2))
    with pytest.raises(
        ValueError, match=r"3 workers of 0\.25 cpus and 0\.5 gpus .* choices: 1 to 2"
    ):
        run(url, planned, "trials:located", resources=Resources(cpus=0.25, gpus=0.5, workers=3))


def test_a_node_that_spoils_everything_is_left_out_and_no_trial_fails_for_it(
    nodes: Cluster, url: str, tmp_path: Path
) -> None:
    for _ in range(2):
        add(nodes, num_cpus=1)
    planned = specs(12, folder=str(tmp_path))
    resources = Resources(cpus=1, workers=2)
    report = run(url, planned, "failing_trials:deadly_here", resources=resources)
    bad = os.readlink(tmp_path / "bad")
    assert (report.finished, report.failed) == (12, 0)
    ended = [places(tmp_path, spec) for spec in planned]
    assert all(len(each) == 1 and bad not in each for each in ended), ended
    with Store(url) as store:
        spoilt = store.failed_attempts("engine")
    assert len(spoilt) == report.remedied == NODE_FAULTS
    assert {each.remedy for each in spoilt} == {Remedy.ELSEWHERE}
