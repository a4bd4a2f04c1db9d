"""A sweep that can be run, disturbed and examined: what the kill matrix plays on."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from store.repository import Store
from store.sql.leases import Leases
from sweeps.load import load_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS
from tests.torture import quick

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 400
SWEEP = """
name: matrix
seeds: {seeds}
keep: [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
measure: {{latency_pairs: 0}}
resources: {{workers: 2, cpus: 1}}
workloads:
  recall:
    task: {{id: recall, num_examples: 32, context_length: 64, num_pairs: 4}}
    backbone: {{hf: {llama}}}
    methods: [random, snapkv]
"""
"""16 trials for each seed, and as many uncompressed ones as there are seeds."""


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Raises AssertionError in the end."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@dataclass
class Battlefield:
    """One sweep in one fresh database."""

    folder: Path
    llama: Path
    url: str
    num_seeds: int
    address: str | None = None
    _output: dict[int, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.notes.mkdir(parents=True)
        seeds = list(range(self.num_seeds))
        self.file.write_text(SWEEP.format(llama=self.llama, seeds=seeds))

    @property
    def file(self) -> Path:
        return self.folder / "sweep.yaml"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    @cached_property
    def expected(self) -> dict[str, Any]:
        """What an undisturbed run records, by trial: numbers and outcomes."""
        return {
            trial.spec.id: _numbers(quick.quick_numbers(trial.spec))
            for trial in plan(load_sweep(self.file)).trials
        }

    @property
    def attempts(self) -> dict[str, int]:
        """How often each trial was begun."""
        return {file.name: len(file.read_text().splitlines()) for file in self.notes.iterdir()}

    @property
    def workers(self) -> set[int]:
        """Processes that have ever begun a trial."""
        texts = [file.read_text() for file in self.notes.iterdir()]
        return {int(pid) for text in texts for pid in text.split()}

    @property
    def finished(self) -> set[str]:
        """Trials whose results are durable."""
        with Store(self.url) as store:
            return store.finished(self.expected)

    @property
    def drivers(self) -> list[str]:
        """Those that the database knows to run."""
        leases = Leases(self.url)
        try:
            return [partner.name for partner in leases.partners()]
        finally:
            leases.close()

    def open(self, count: float = math.inf) -> None:
        """Let so many trials end from now on, those that begin first."""
        written = self.notes.with_suffix(".going")
        written.write_text(str(count))
        written.replace(self.notes.with_suffix(quick.GO))

    def start(self, **variables: str) -> subprocess.Popen[str]:
        """The command with these environment variables besides; what it says goes to files."""
        command = [sys.executable, "-m", "tests.torture.sweep_driver", str(self.file), self.url]
        log = self.folder / f"{len(self._output)}.log"
        environment = {
            **os.environ,
            quick.NOTES: str(self.notes),
            "PARETOKEN_ARTIFACTS": str(self.folder / "artifacts"),
            **variables,
        }
        with log.open("w") as errors, log.with_suffix(".json").open("w") as output:
            process = subprocess.Popen(
                [*command, *([self.address] if self.address else [])],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=errors,
                text=True,
            )
        self._output[process.pid] = log
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        """To standard error, so far."""
        return self._output[process.pid].read_text()

    def report(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Of a run that has to end well."""
        process.wait(PATIENCE_SECONDS)
        assert process.returncode == 0, self.said(process)
        found: dict[str, Any] = json.loads(
            self._output[process.pid].with_suffix(".json").read_text()
        )
        return found

    def wait_for_attempts(self, count: int, process: subprocess.Popen[str]) -> None:
        """Until so many trials were begun."""
        wait_until(lambda: len(list(self.notes.iterdir())) >= count or process.poll() is not None)

    def require_undisturbed_numbers(self) -> None:
        """Each trial once, and number for number what an undisturbed run records."""
        with Store(self.url) as store:
            points = store.points("matrix")
            found = {
                point.trial: {
                    "metrics": {k: v for k, v in point.metrics.items() if k not in TIME_METRICS},
                    "outcomes": store.outcomes(point.trial)["outcome"].tolist(),
                }
                for point in points
            }
        assert len(found) == len(points)
        assert found == self.expected

    def require_tidy_mlflow(self) -> None:
        """A run for the sweep, one below it for each trial, and none that still runs."""
        from mlflow import MlflowClient

        client = MlflowClient(self.url)
        experiment = client.get_experiment_by_name("paretoken")
        runs = client.search_runs([experiment.experiment_id], max_results=5000)
        parents = [run for run in runs if "trial_id" not in run.data.tags]
        children = [run for run in runs if "trial_id" in run.data.tags]
        assert len(parents) == 1
        assert sorted(run.data.tags["trial_id"] for run in children) == sorted(self.expected)
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
        assert {run.info.status for run in runs} == {"FINISHED"}


def _numbers(known: tuple[Any, list[float]]) -> dict[str, Any]:
    metrics, outcomes = known
    dumped = metrics.model_dump(exclude={"tokens_per_layer", "simulated", *TIME_METRICS})
    return {"metrics": dumped, "outcomes": outcomes}


def kill(pid: int) -> None:
    """As the machine's memory guard would."""
    os.kill(pid, signal.SIGKILL)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a driver that has not failed before."""
    assert process.poll() in (None, 0), process.returncode
    process.kill()
    process.wait()


def named(process: subprocess.Popen[str] | psutil.Process, title: str) -> list[int]:
    """Processes below this one whose title begins so: ``ray::Writer``, ``ray::Worker``."""
    found = []
    with suppress(psutil.NoSuchProcess):  # the driver is done
        for each in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if " ".join(each.cmdline()).startswith(title):
                    found.append(each.pid)
    return found


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process is gone with the block, and Ray's of its own with it."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
