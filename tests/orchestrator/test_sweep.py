"""One file runs a sweep end to end by the command, on both databases, and survives kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.pool import run_pool
from store.mirror.mlflow_mirror import MlflowMirror
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS
from tests.measured import measure

SWEEP = """
name: small
seeds: [0]
keep: [1.0, 0.5, 16 tokens]
measure: {{latency_pairs: {pairs}, latency_batch: 2}}
workloads:
  digits:
    task: {{id: digits, num_examples: {num_examples}, batch_size: 8}}
    backbone: {{hf: {vit}}}
    methods: [identity, random, tome, {more}]
    schedules: [one-layer, progressive]
  recall:
    task: {{id: recall, num_examples: 8, context_length: 64, num_pairs: 4}}
    backbone: {{hf: {llama}}}
    methods: [random, snapkv]
"""
TRIALS = 1 + 2 * 2 * 2 + 1 + 2 * 2
ONE_METHOD = 2 * 2


class Checkout:
    """A user's folder with a sweep file."""

    def __init__(self, folder: Path, models: dict[str, Path]) -> None:
        self.folder, self.models = folder, models
        self.write()

    def write(self, *, more: str = "", num_examples: int = 8, pairs: int = 1) -> None:
        settings = {"more": more, "num_examples": num_examples, "pairs": pairs}
        (self.folder / "sweep.yaml").write_text(SWEEP.format(**self.models, **settings))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestrator.cli", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def json(self, *arguments: str) -> Any:
        process = self.start(*arguments, "--json")
        out, err = process.communicate()
        assert process.returncode == 0, err
        return json.loads(out)


@pytest.fixture
def checkout(tmp_path: Path, vit_folder: Path, llama_folder: Path) -> Checkout:
    return Checkout(tmp_path, {"vit": vit_folder, "llama": llama_folder})


def runs_in_mlflow(url: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(url)
    experiment = client.get_experiment_by_name("paretoken")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def require_every_trial_once(url: str, num_trials: int) -> None:
    """In SQL and in MLflow, and no run that still runs."""
    with Store(url) as store:
        points = store.points("small")
    assert len({point.trial for point in points}) == len(points) == num_trials
    runs = runs_in_mlflow(url)
    told = [run.data.tags["trial_id"] for run in runs if "trial_id" in run.data.tags]
    assert sorted(told) == sorted(point.trial for point in points)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_one_file_runs_is_reused_and_grows(checkout: Checkout, mirror_url: str) -> None:
    first = checkout.json("run", "sweep.yaml", "--store", mirror_url)
    assert first["sweep"] == "small"
    assert (first["planned"], first["measured"], first["failed"]) == (TRIALS, TRIALS, 0)
    assert first["utilisation"] > 0
    assert (first["timed"], first["untimed"]) == (TRIALS, 0)
    require_every_trial_once(mirror_url, TRIALS)
    require_every_trial_timed(mirror_url)

    again = checkout.json("run", "sweep.yaml", "--store", mirror_url)
    assert (again["reused"], again["measured"], again["timed"]) == (TRIALS, 0, 0)

    checkout.write(more="uniform")
    grown = checkout.json("run", "sweep.yaml", "--store", mirror_url)
    assert (grown["reused"], grown["measured"], grown["timed"]) == (
        TRIALS,
        ONE_METHOD,
        ONE_METHOD,
    )
    require_every_trial_once(mirror_url, TRIALS + ONE_METHOD)

    points = checkout.json("frontier", "small", "--store", mirror_url)
    assert {"workload", "trial", "method", "keep_ratio", "schedule", "seed", "metrics"} <= set(
        points[0]
    )
    require_exact_frontier(points, "digits", "flops")
    require_exact_frontier(points, "recall", "kv")
    status = checkout.json("status", "--store", mirror_url)
    [row] = status
    assert (row["name"], row["finished"]) == ("small", TRIALS + ONE_METHOD)
    assert (row["timed"], row["untimed"]) == (TRIALS + ONE_METHOD, 0)


def require_every_trial_timed(url: str) -> None:
    """In the lane: no two timings overlap, and MLflow knows where they were taken."""
    with Store(url) as store:
        assert all(point.in_lane for point in store.points("small"))
        assert all(point.metrics["latency_pairs"] == 1 for point in store.points("small"))
    told = [run for run in runs_in_mlflow(url) if "trial_id" in run.data.tags]
    assert {run.data.tags["in_lane"] for run in told} == {"true"}
    assert all(run.data.metrics["latency"] > 0 for run in told)


def require_exact_frontier(points: list[dict[str, Any]], workload: str, cost: str) -> None:
    """By the definition: on it unless another point is as good in both and better in one."""
    own = [point for point in points if point["workload"] == workload]
    values = [(-point["metrics"]["quality"], point["metrics"][cost]) for point in own]
    for point, (loss, price) in zip(own, values, strict=True):
        beaten = any(
            other != (loss, price) and other[0] <= loss and other[1] <= price for other in values
        )
        assert point["on_frontier"] is not beaten


def test_a_killed_driver_loses_and_repeats_nothing(
    checkout: Checkout, sqlite_mlflow_template: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/paretoken.db"
    (tmp_path / "paretoken.db").write_bytes(sqlite_mlflow_template.read_bytes())
    checkout.write(num_examples=64)
    driver = checkout.start("run", "sweep.yaml", "--store", url)
    done = wait_for_some_trials(url, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    resumed = checkout.json("run", "sweep.yaml", "--store", url)
    assert resumed["planned"] == TRIALS
    assert resumed["reused"] >= done
    assert resumed["reused"] + resumed["measured"] == TRIALS
    found = resumed["reconciliation"]
    assert found["finished"] == resumed["reused"]
    assert [name.rpartition(":")[2] for name in found["dead"]] == [str(driver.pid)]
    assert 0 < found["repaired"] <= 1 + TRIALS
    require_every_trial_once(url, TRIALS)


def wait_for_some_trials(url: str, driver: subprocess.Popen[str]) -> int:
    """Until results come in; how many there are."""
    while driver.poll() is None:
        with Store(url) as store:
            finished = sum(sweep.finished for sweep in store.sweeps())
        if finished >= 3:
            return finished
        time.sleep(0.05)
    raise AssertionError(driver.communicate())


def test_numbers_are_the_same_bits_for_one_two_and_four_workers(
    checkout: Checkout, tmp_path: Path
) -> None:
    spec = load_sweep(checkout.folder / "sweep.yaml")
    planned = plan(spec).trials[::3]
    found = []
    with cluster(num_cpus=4):
        for workers in (1, 2, 4):
            url = f"sqlite:///{tmp_path}/{workers}.db"
            with Store(url) as store:
                store.begin_sweep(spec.name, "", spec.resolved(), planned, [])
            run_pool(
                [trial.spec for trial in planned],
                url,
                resources=Resources(cpus=1, workers=workers),
                ledger="tests.orchestrator.ledgers:SqlLedger",
            )
            found.append(numbers(url))
    assert len(found[0]) == len(planned)
    assert found[0] == found[1] == found[2]


def numbers(url: str) -> dict[str, Any]:
    """Everything measured but times, by trial."""
    with Store(url) as store:
        return {
            point.trial: (
                {k: v for k, v in point.metrics.items() if k not in TIME_METRICS},
                point.tokens_per_layer,
                store.outcomes(point.trial)["outcome"].tolist(),
            )
            for point in store.points("small")
        }


def test_a_mirror_that_was_left_behind_catches_up(
    checkout: Checkout, sqlite_mlflow_template: Path, tmp_path: Path
) -> None:
    """What the store knows and MLflow does not is told by the next run, without Ray."""
    checkout.write(pairs=0)
    file = tmp_path / "paretoken.db"
    file.write_bytes(sqlite_mlflow_template.read_bytes())
    url = f"sqlite:///{file}"
    with Store(url) as store:
        measure(store, checkout.folder / "sweep.yaml")
    report = checkout.json("run", "sweep.yaml", "--store", url)
    assert (report["reused"], report["measured"]) == (TRIALS, 0)
    require_every_trial_once(url, TRIALS)
    mirror = MlflowMirror(url)
    assert mirror.drain() == 0
    mirror.close()
