from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from store.mirror.mlflow_mirror import MlflowMirror
from store.mirror.mlflow_runs import MlflowRuns
from store.mirror.sweep_page import SweepPage
from store.questions.standing import Standing
from store.records import NOT_NUMBERS
from store.repository import Store
from tests.store.examples import STARTED, begin, failed, finished, metrics, spec

FORK = multiprocessing.get_context("fork")
"""Children that have MLflow imported already; importing it takes longer than these tests."""

CALLS = ("create_run", "log_batch", "set_terminated")


@pytest.fixture
def store(mirror_url: str) -> Store:
    return Store(mirror_url)


def drain(url: str) -> None:
    mirror = MlflowMirror(url)
    while mirror.drain(limit=3):
        pass
    mirror.close()


def runs(store: Store, kind: str) -> list[Run]:
    client = MlflowClient(store.url)
    experiment = client.get_experiment_by_name("paretoken")
    found = client.search_runs(
        [experiment.experiment_id], f"tags.kind = '{kind}'", ViewType.ALL, max_results=1000
    )
    return list(found)


def assert_mirrored_once(store: Store, trials: list[str]) -> None:
    (parent,) = runs(store, "sweep")
    children = runs(store, "trial")
    assert Counter(run.data.tags["trial_id"] for run in children) == Counter(trials)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} <= {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    for run in children:
        assert run.data.metrics["quality"] == metrics().quality
        assert run.data.params["method"] == "tome"


def page(**changes: Any) -> SweepPage:
    whole = SweepPage(at=STARTED, leading={}, others={}, metrics={}, note="")
    return replace(whole, **changes)


def test_a_trial_is_told_completely(store: Store, tmp_path: Path) -> None:
    trial = spec(7, seed=3)
    begin(store, [trial])
    store.record([finished(trial)])
    store.end_sweep("quickstart", 2.5, 0.96, {"measured": 1})
    drain(store.url)
    (child,) = runs(store, "trial")
    (parent,) = runs(store, "sweep")
    assert child.data.metrics == {
        name: value
        for name, value in metrics().model_dump(exclude=NOT_NUMBERS).items()
        if value is not None
    }
    assert child.data.params == {
        "task": "digits",
        "task.num_examples": "8",
        "backbone": "vit-digits",
        "dtype": "float32",
        "method": "tome",
        "method.number": "7",
        "schedule": "one-layer@1",
        "keep_ratio": "0.5",
        "seed": "3",
    }
    assert child.info.run_name == "tome 2x one-layer@1 seed 3"
    tags = child.data.tags
    assert (tags["trial_id"], tags["workload"], tags["sweep"]) == (trial.id, "digits", "quickstart")
    assert (tags["family"], tags["paper"]) == ("vision", "2210.09461")
    started = int(STARTED.timestamp() * 1000)
    assert (child.info.start_time, child.info.end_time) == (started, started + 1250)
    assert parent.info.run_name == "quickstart"
    assert parent.data.metrics == {"seconds": 2.5, "utilisation": 0.96, "measured": 1.0}


def test_figures_and_the_sweep_file_hang_on_the_sweeps_run(store: Store, tmp_path: Path) -> None:
    figure = tmp_path / "frontier.png"
    figure.write_bytes(b"\\x89PNG")
    begin(store, [spec()])
    mirror = MlflowMirror(store.url)
    with pytest.raises(ValueError, match="'quickstart' has no MLflow run yet"):
        mirror.describe("quickstart", page(files=[figure]))
    drain(store.url)
    mirror.describe("quickstart", page(files=[figure]))
    mirror.close()
    (parent,) = runs(store, "sweep")
    kept = MlflowClient(store.url).list_artifacts(parent.info.run_id)
    assert [file.path for file in kept] == ["frontier.png", "sweep.yaml"]
    assert [file.name for file in tmp_path.rglob("sweep.yaml")] == ["sweep.yaml"]


def test_where_trials_stand_is_told_once_and_corrected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, second, last = (spec(number) for number in range(3))
    begin(store, [best, second, last])
    store.record([finished(trial) for trial in (best, second, last)])
    drain(store.url)
    mirror = MlflowMirror(store.url)
    first, behind = Standing(1, 0.9), Standing(2, 0.1)
    now = page(leading={best.id: first, second.id: behind}, others={last.id: Standing(7, None)})
    mirror.describe("quickstart", now)

    def told() -> dict[str, tuple[str, float | None, float | None]]:
        return {
            run.data.tags["trial_id"]: (
                run.data.tags["on_frontier"],
                run.data.metrics.get("pareto_rank"),
                run.data.metrics.get("frontier_probability"),
            )
            for run in runs(store, "trial")
        }

    assert told() == {
        best.id: ("true", 1, 0.9),
        second.id: ("false", 2, 0.1),
        last.id: ("false", None, None),
    }
    calls = Counter[str]()

    def counted(runs: MlflowRuns, run_id: str, *args: Any, **named: Any) -> None:
        calls[run_id] += 1

    with monkeypatch.context() as patched:
        patched.setattr(MlflowRuns, "log", counted)
        mirror.describe("quickstart", now)
        assert sum(calls.values()) == 1, "the sweep's own run alone"
    later = replace(
        now,
        at=STARTED + timedelta(seconds=60),
        leading={last.id: first, best.id: behind},
        others={second.id: Standing(3, 0.0)},
    )
    mirror.describe("quickstart", later)
    mirror.close()
    assert told() == {
        best.id: ("false", 2, 0.1),
        second.id: ("false", 3, 0.0),
        last.id: ("true", 1, 0.9),
    }


def test_a_sweep_runs_while_it_runs(store: Store) -> None:
    begin(store, [spec()])
    drain(store.url)
    assert [run.info.status for run in runs(store, "sweep")] == ["RUNNING"]
    store.end_sweep("quickstart", 1.0, None, {})
    drain(store.url)
    assert [run.info.status for run in runs(store, "sweep")] == ["FINISHED"]
    begin(store, [spec()])
    drain(store.url)
    assert [run.info.status for run in runs(store, "sweep")] == ["RUNNING"]


def test_a_trial_of_two_sweeps_has_a_run_under_each(store: Store) -> None:
    trial = spec()
    begin(store, [trial], "first")
    store.record([finished(trial)])
    begin(store, [trial], "second")
    begin(store, [trial], "second")
    drain(store.url)
    parents = {run.info.run_id: run.info.run_name for run in runs(store, "sweep")}
    under = [parents[run.data.tags["mlflow.parentRunId"]] for run in runs(store, "trial")]
    assert sorted(under) == ["first", "second"]


def test_a_trial_that_failed_and_then_finished_is_one_run(store: Store) -> None:
    trial = spec()
    begin(store, [trial])
    store.record([failed(trial)])
    drain(store.url)
    (child,) = runs(store, "trial")
    assert (child.info.status, child.data.tags["failure"]) == ("FAILED", "worker-died")
    assert child.data.tags["error"] == "the worker went away"
    store.record([finished(trial)])
    store.end_sweep("quickstart", 1.0, None, {})
    drain(store.url)
    assert_mirrored_once(store, [trial.id])
    (child,) = runs(store, "trial")
    assert "failure" not in child.data.tags


def test_a_run_that_someone_deleted_comes_back_when_it_is_told_again(store: Store) -> None:
    begin(store, [])
    drain(store.url)
    (parent,) = runs(store, "sweep")
    MlflowClient(store.url).delete_run(parent.info.run_id)
    store.end_sweep("quickstart", 1.0, None, {})
    drain(store.url)
    (parent,) = runs(store, "sweep")
    assert (parent.info.lifecycle_stage, parent.info.status) == ("active", "FINISHED")


def prepare(store: Store, num_trials: int) -> list[str]:
    trials = [spec(number) for number in range(num_trials)]
    begin(store, trials)
    store.record([finished(trial) for trial in trials])
    store.end_sweep("quickstart", 1.0, 0.97, {})
    return [trial.id for trial in trials]


def drain_and_die(url: str, call: int, when: str) -> None:
    """Kill ourselves before or after the n-th call of the client, whichever call that is."""
    numbers = count()

    def deadly(work: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **kwargs: object) -> object:
            last = next(numbers) == call
            if last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = work(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return called

    for name in CALLS:
        setattr(MlflowClient, name, deadly(getattr(MlflowClient, name)))
    drain(url)


@pytest.mark.parametrize("when", ["before", "after"])
def test_dying_at_any_call_loses_and_repeats_nothing(store: Store, when: str) -> None:
    trials = prepare(store, 2)
    for call in count():  # each finishes first what the one before left
        process = FORK.Process(target=drain_and_die, args=(store.url, call, when))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert call >= len(CALLS)
    assert_mirrored_once(store, trials)


def test_kill_minus_nine_at_any_instant_loses_and_repeats_nothing(store: Store) -> None:
    trials = prepare(store, 12)
    for milliseconds in (60, 130, 240, 330):
        process = FORK.Process(target=drain, args=(store.url,))
        process.start()
        process.join(milliseconds / 1000)
        process.kill()
        process.join()
    drain(store.url)
    assert_mirrored_once(store, trials)


def test_two_mirrors_at_once_take_turns(store: Store) -> None:
    trials = prepare(store, 8)
    processes = [FORK.Process(target=drain, args=(store.url,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert_mirrored_once(store, trials)
