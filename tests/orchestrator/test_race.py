"""A race by the command: interrupted and resumed it stops the same configurations as undisturbed.

What it is compared with runs in this process, one trial after the other, without Ray.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import leasing
from orchestrator.engine.leasing import Leasing
from orchestrator.measurement.trial import run_trial
from orchestrator.search.racing import RaceFeed
from orchestrator.search.searching import searching
from orchestrator.sweep import run_sweep
from store.mirror.mlflow_runs import MlflowRuns
from store.races.race_rows import race_rows
from store.repository import Store
from store.sql.leases import Leases, Partner
from store.url import artifacts_folder
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS
from sweeps.trial import TrialResult, TrialSpec
from tests.orchestrator import trials as made_up
from tests.store import examples

SWEEP = """
name: raced
seeds: [0]
keep: [1, 0.5, 0.125]
methods: [divprune, tome, uniform, random, relevance-oracle]
schedules: [paper]
objectives: {quality: maximize, flops: minimize}
measure: {latency_pairs: 0}
search: {strategy: race, rungs: [1/4, 1/2]}
workloads:
  digits:
    task: {id: digits, num_examples: 32, batch_size: 8}
    backbone: vit-digits
"""


SHARED = """
name: raced
keep: [1, 0.5]
measure: {latency_pairs: 0}
search: {strategy: race, rungs: [1/2, 1]}
workloads:
  few: &few
    task: {id: digits, num_examples: 64, batch_size: 8}
    backbone: vit-digits
    methods: [tome]
    objectives: {quality: maximize, flops: minimize}
  more:
    <<: *few
    methods: [tome, evit]
    objectives: {quality: maximize, tokens: minimize}
"""
"""Two workloads of which one asks for what the other has, and comes later to it."""


def paretoken(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def asked(folder: Path, *arguments: str) -> Any:
    process = paretoken(folder, *arguments, "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out)


def feed(store: Store, text: str = SWEEP, driver: str | None = None) -> RaceFeed:
    spec = parse_sweep(text)
    search = searching(store, spec, plan(spec))
    assert isinstance(search, RaceFeed)
    content = spec.resolved()
    content["search"] |= search.notes
    store.begin_sweep(spec.name, text, content, search.first_plan(), [], driver)
    return search


def drive(
    store: Store, search: RaceFeed, meanwhile: Callable[[list[TrialSpec]], None] = lambda _: None
) -> dict[str, int]:
    """Run a race in this process; examples that were evaluated by trial.

    ``meanwhile`` is called before each trial, with those that wait.
    """
    waiting, ran = list(search.begin()), {}
    while waiting:
        meanwhile(waiting)
        spec: TrialSpec = waiting.pop()
        head = search.heads([spec]).get(spec.id)
        result: TrialResult = run_trial(spec, head) if head else run_trial(spec)
        store.record([result])
        assert result.metrics is not None, result.error
        ran[spec.id] = result.metrics.num_examples - (len(head.outcomes) if head else 0)
        waiting += search.after(result)
    return ran


def numbers(store: Store) -> dict[str, dict[str, Any]]:
    points = [point for members in store.rungs("raced").values() for point in members]
    return {
        point.trial: {k: v for k, v in point.metrics.items() if k not in TIME_METRICS}
        for point in points
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, int]]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('race')}/whole.db")
    return store, drive(store, feed(store))


def test_interrupted_and_resumed_it_is_the_same_race(
    tmp_path: Path, whole: tuple[Store, dict[str, int]], sqlite_mlflow_template: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "race.db").write_bytes(sqlite_mlflow_template.read_bytes())
    url = f"sqlite:///{tmp_path}/race.db"
    first = paretoken(tmp_path, "run", "sweep.yaml", "--store", url, "--json")
    with Store(url) as store:
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline and not any(s.finished > 2 for s in store.sweeps()):
            time.sleep(0.1)
        os.kill(first.pid, signal.SIGINT)
        _, err = first.communicate()
        assert first.returncode in (0, 130), err
        report = asked(tmp_path, "run", "sweep.yaml", "--store", url)
        assert report["failed"] == 0
        assert report["reused"] >= 3
        assert race_rows(store, "raced") == race_rows(whole[0], "raced")
        assert numbers(store) == numbers(whole[0])
        assert asked(tmp_path, "race", "raced", "--store", url) == race_rows(store, "raced")
        (status,) = asked(tmp_path, "status", "raced", "--store", url)
        assert (status["open"], status["race"]) == (0, race_rows(store, "raced"))
        runs = MlflowRuns(url, artifacts_folder(url))
        tags = [
            run.data.tags["race"]
            for run in runs.client.search_runs([runs._experiment_id])
            if "race" in run.data.tags
        ]
    assert any(tag.startswith("stopped at 1/4: dominated by") for tag in tags), tags


def test_a_second_start_takes_nothing_from_a_race_that_is_run(
    tmp_path: Path, whole: tuple[Store, dict[str, int]]
) -> None:
    other = SWEEP.replace("keep: [1, 0.5, 0.125]", "keep: [1, 0.5]")
    with Store(f"sqlite:///{tmp_path}/race.db") as store, Leasing(store, "raced") as first:

        def start_again(waiting: list[TrialSpec]) -> None:
            if any(spec.task.params["num_examples"] == 16 for spec in waiting):
                feed(store, driver="second")
                with pytest.raises(ValueError, match=rf"run by .*{os.getpid()} from another"):
                    feed(store, other, driver="third")

        assert drive(store, feed(store, driver=first.driver), start_again) == whole[1]
        assert race_rows(store, "raced") == race_rows(whole[0], "raced")
        assert numbers(store) == numbers(whole[0])


def test_every_example_is_evaluated_once(whole: tuple[Store, dict[str, int]]) -> None:
    store, ran = whole
    (row,) = race_rows(store, "raced")
    names = {point.method for point in store.points("raced")}
    assert sum(ran.values()) == row["evaluated"] < row["exhaustive"]
    assert row["rungs"] == [8, 16, 32]
    assert {place["verdict"] for place in row["configurations"]} >= {"in", "out"}
    assert "relevance-oracle" not in names, "what it saves is only simulated"


def test_only_what_saw_the_most_examples_is_on_the_frontier(
    whole: tuple[Store, dict[str, int]],
) -> None:
    from dashboards.rows import stored_rows

    rows = stored_rows(whole[0], "raced")
    most = max(row.point.metrics["num_examples"] or 0 for row in rows)
    on = [row.point for row in rows if row.on_frontier]
    assert on
    assert {point.metrics["num_examples"] for point in on} == {most}


def test_a_race_after_a_grid_measures_nothing(tmp_path: Path) -> None:
    """Fewer examples are the front of more, which the store has."""
    grid = SWEEP.replace("num_examples: 32", "num_examples: 8").replace(
        "rungs: [1/4, 1/2]", "rungs: [1]"
    )
    with Store(f"sqlite:///{tmp_path}/grid.db") as store:
        spec = parse_sweep(grid)
        trials = plan(spec).trials
        store.begin_sweep("grid", "", spec.resolved(), trials, [])
        store.record([run_trial(trial.spec) for trial in trials])
        again = feed(store, grid)
        assert again.begin() == []
        assert race_rows(store, "raced")[0]["waiting"] == 0


def test_an_edited_race_starts_once_whoever_ran_it_on_another_machine_is_silent(
    tmp_path: Path, sqlite_mlflow_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "Watch", partial(leasing.Watch, seconds=1.0))
    file, database = tmp_path / "sweep.yaml", tmp_path / "race.db"
    database.write_bytes(sqlite_mlflow_template.read_bytes())
    file.write_text(SHARED.replace("race,", "race, epsilon: 0.02,"))
    url = f"sqlite:///{database}"
    with Store(url) as store, closing(Leases(url)) as leases:
        leases.enter(Partner("old", "raced", "node:17", "before a power cut", "17 1"))
        drive(store, feed(store, SHARED, "old"))
        run = run_sweep(file, url)
    assert run.report.reconciliation["dead"] == ["node:17"]
    assert (run.report.failed, run.report.measured) == (0, 0)


def test_of_workloads_that_share_trials_each_is_asked_for_once(tmp_path: Path) -> None:
    def measure(spec: TrialSpec) -> list[TrialSpec]:
        num_examples = spec.task.params["num_examples"]
        cost = {"identity": 1.0, "tome": 0.7, "evit": 0.6}[spec.method.id]
        result = examples.finished(spec, num_examples=num_examples, flops=cost, tokens=cost)
        result = replace(result, outcomes=[1.0, 0.0] * (num_examples // 2))
        store.record([result])
        return search.after(result)

    with Store(f"sqlite:///{tmp_path}/race.db") as store:
        search = feed(store, SHARED)
        short = {spec.method.id: spec for spec in search.begin()}
        assert measure(short["identity"]) == []
        longer = {spec.method.id: spec for spec in measure(short["tome"])}
        assert longer.keys() == {"identity", "tome"}
        assert measure(longer["identity"]) == []
        # One of what the other workload has is measured by now, the other one is under way.
        (last,) = measure(short["evit"])
        assert last.method.id == "evit"
        assert measure(last) == []
        assert measure(longer["tome"]) == []
        rows = race_rows(store, "raced")
        assert [(row["waiting"], len(row["configurations"])) for row in rows] == [(0, 2), (0, 3)]
        assert {place["examples"] for row in rows for place in row["configurations"]} == {64}


def test_what_failed_in_a_later_rung_is_not_waited_for_afterwards(tmp_path: Path) -> None:
    text = SWEEP.replace("[divprune, tome, uniform, random, relevance-oracle]", "[divprune, tome]")
    with Store(f"sqlite:///{tmp_path}/failed.db") as store:
        search = feed(store, text)
        waiting = list(search.begin())
        while waiting:
            spec = waiting.pop()
            num_examples = spec.task.params["num_examples"]
            if spec.method.id == "tome" and num_examples > 8:
                result = examples.failed(spec)
            else:
                outcomes = [1.0, 0.0] * (num_examples // 2)
                now = datetime.now(UTC)
                result = made_up.result(spec, now, seconds=0.1, outcomes=outcomes)
            store.record([result])
            waiting += search.after(result)
        (row,) = race_rows(store, "raced")
    assert row["waiting"] == 0
    places = {(each["method"], each["keep_ratio"]): each for each in row["configurations"]}
    assert places["tome", 0.125]["reason"] == "stopped at 1/4: lacks a seed or a cost"
    assert places["divprune", 0.125]["reason"] == "in with all examples, p=1.00"
