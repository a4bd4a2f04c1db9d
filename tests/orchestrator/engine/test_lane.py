"""Promises of the measurement lane, kept on a real Ray cluster with processes that really die."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.events import EventKind, PoolEvent, PoolReport
from orchestrator.engine.lane import Lane
from orchestrator.engine.pool import run_pool
from store.repository import Store
from sweeps.timing import TimingSpec
from sweeps.trial import MeasureSpec, TrialSpec
from tests.orchestrator.ledgers import plan
from tests.orchestrator.trials import specs

RUNNERS = "tests.orchestrator.trials"


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    with cluster(num_cpus=2):
        yield


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


def run(
    url: str, trials: Sequence[TrialSpec], timings: Sequence[TimingSpec], **options: Any
) -> PoolReport:
    plan(url, [*trials, *(each.trial for each in timings)])
    settings = {
        "resources": Resources(cpus=0.5, workers=2),
        "ledger": "tests.orchestrator.ledgers:SqlLedger",
        "runner": f"{RUNNERS}:noted",
        "timer": f"{RUNNERS}:timed",
    }
    return run_pool(trials, url, timings=lambda: timings, **{**settings, **options})


def at(trials: Sequence[TrialSpec], *batches: int) -> list[TimingSpec]:
    return [TimingSpec(trial, batch) for trial in trials for batch in batches]


def spans(url: str, query: str) -> list[tuple[float, float]]:
    """Start and end of everything that a table recorded, in seconds."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(f"SELECT julianday(started_at) * 86400, seconds FROM {query}")
        ).all()
    engine.dispose()
    return sorted((start, start + seconds) for start, seconds in rows)


def test_nothing_else_runs_on_a_device_while_something_is_timed(url: str, tmp_path: Path) -> None:
    trials = specs(8, backbones=2, folder=str(tmp_path), seconds=0.05, timing=0.05)
    report = run(url, trials, at(trials, 1, 8))
    assert (report.finished, report.timed, report.disturbed) == (8, 16, 0)
    lane = spans(url, "paretoken_timings WHERE in_lane")
    assert len(lane) == 16
    others = spans(url, "paretoken_attempts")
    slack = 2e-3  # julian days have no microseconds
    assert all(end <= start + slack for (_, end), (start, _) in itertools.pairwise(lane))
    assert max(end for _, end in others) <= lane[0][0] + slack
    assert any(start < end for (_, end), (start, _) in itertools.pairwise(others))  # these do


def test_a_worker_that_dies_while_timing_is_replaced_and_the_timing_repeated(
    url: str, tmp_path: Path
) -> None:
    trials = specs(5, folder=str(tmp_path))
    report = run(url, trials, at(trials, 8), timer=f"{RUNNERS}:timed_once_dead")
    assert (report.timed, report.timings_failed, report.workers_lost) == (5, 0, 1)
    with Store(url) as store:
        assert store.timed(trial.id for trial in trials) == {(trial.id, 8): 9 for trial in trials}


def test_a_timing_that_always_takes_its_worker_down_fails_and_the_rest_are_taken(
    url: str, tmp_path: Path
) -> None:
    trials = specs(5, folder=str(tmp_path))
    report = run(url, trials, at(trials, 8), timer=f"{RUNNERS}:timed_by_death")
    assert (report.finished, report.timed, report.timings_failed) == (5, 4, 1)
    with Store(url) as store:
        assert (trials[3].id, 8) not in store.timed(trial.id for trial in trials)


def test_a_timing_past_its_deadline_fails_and_the_rest_are_taken(url: str, tmp_path: Path) -> None:
    trials = specs(5, folder=str(tmp_path))
    options = {"timer": f"{RUNNERS}:timed_for_ever", "trial_timeout_s": 2.0}
    report = run(url, trials, at(trials, 8), **options)
    assert (report.timed, report.timings_failed, report.workers_lost) == (4, 1, 1)


def test_an_interrupted_lane_keeps_what_it_has_and_the_next_run_takes_the_rest(
    url: str, tmp_path: Path
) -> None:
    trials = specs(8, folder=str(tmp_path), timing=0.05)

    def interrupt_soon(event: PoolEvent) -> None:
        seen.append(event.kind)
        if event.kind is EventKind.TIMED and seen.count(event.kind) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    seen: list[EventKind] = []
    first = run(url, trials, at(trials, 8), on_event=interrupt_soon)
    assert first.interrupted
    assert (first.finished, first.timings_failed) == (8, 0)
    assert 3 <= first.timed < 8
    with Store(url) as store:
        done = store.timed(trial.id for trial in trials)
    assert len(done) == first.timed
    left = [each for each in at(trials, 8) if (each.trial.id, 8) not in done]
    second = run(url, [], left)
    assert (second.finished, second.timed) == (0, 8 - first.timed)
    attempts = [len((tmp_path / str(spec.seed)).read_text().splitlines()) for spec in trials]
    assert attempts == [1] * 8


def test_no_timing_begins_after_the_time_is_up(url: str, tmp_path: Path) -> None:
    trials = specs(3, folder=str(tmp_path), timing=0.4)
    report = run(url, [], at(trials, 8), max_seconds=0.2)
    assert report.timed <= 1
    assert report.timings_failed == 0


@dataclass(frozen=True)
class Place:
    devices: frozenset[str]
    held: tuple[str, ...] | None = None


def test_devices_are_used_side_by_side_and_each_by_one_worker() -> None:
    trials = specs(6, backbones=3)
    lane = Lane(at(trials, 8))
    node = [Place(frozenset({name})) for name in ("a", "a", "b", "c", "c")]
    both = Place(frozenset({"b", "d"}))
    given = lane.assign([*node, both], frozenset({"c"}))
    assert [place.devices for place, _ in given] == [{"a"}, {"b"}]
    assert len(lane) == 4
    lane.put_back([spec for _, spec in given])
    assert len(lane) == 6


def test_a_worker_is_given_what_it_has_loaded() -> None:
    from orchestrator.engine.dispatch import affinity

    trials = specs(6, backbones=3)
    lane = Lane(at(trials, 8))
    cold = Place(frozenset({"a"}))
    warm = Place(frozenset({"a"}), affinity(trials[2]))
    [(place, spec)] = lane.assign([cold, warm], frozenset())
    assert (place, spec.trial) == (warm, trials[2])
    assert Lane(at([trials[0], trials[0]], 8, 8)).__len__() == 1


def test_how_a_trial_is_timed_is_no_part_of_what_it_is() -> None:
    [trial] = specs(1)

    def with_measure(**measure: Any) -> str:
        return trial.model_copy(update={"measure": MeasureSpec(**measure)}).id

    assert with_measure() == with_measure(latency_pairs=3) == with_measure(latency_batch=[8, 1])
    assert with_measure() == with_measure(latency_of="frontier")
    assert len({with_measure(), with_measure(latency_pairs=0), with_measure(latency_batch=1)}) == 3
