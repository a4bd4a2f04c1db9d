"""``make bench``: the store and the planner with 100,000 finished trials, and a long run's memory.

- ``status``, ``frontier`` and ``diff`` on SQLite and on PostgreSQL: seconds of the query in a warm
  process, and of the whole command from an empty one (imports and printing included).
- ``diff`` compares the stored plan with one in which a twentieth of the trials is new and as many
  have retired; planning, which is timed apart, comes before it.
- Every trial is timed in the lane, and one workload's frontier is over latency: reading times takes
  longest.
- The driver: resident memory after each fifth of a run of trials that do nothing; SQLite lives in
  another process, MLflow is left out.

Every time is CPU-bound: run it on a machine that does nothing else, or read the CPU column. The
yardstick, a loop of plain Python, says how fast a core was: a quarter of a second on a free one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, insert, make_url, text, update

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.events import EventKind, PoolEvent
from orchestrator.engine.pool import run_pool
from store.comparison.difference import difference
from store.database import Database
from store.models import Attempt, Environment, Measurement, Outcomes, Trial
from store.repository import Store
from store.serialization import digest, to_parquet
from store.sql import timings
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.times import TIME_METRICS, Times
from sweeps.timing import TimingResult
from sweeps.trial import MeasureSpec, Metrics, TrialResult, TrialSpec, TrialState
from tests.orchestrator import ledgers
from tests.orchestrator.trials import specs
from tests.postgres import running

ONE_WORKLOAD = """
name: scale
keep: [1.0, {{from: 0.01, to: 0.99, steps: {steps}}}]
workloads:
  digits:
    task: {{id: digits, num_examples: 96}}
    backbone: vit-digits
    methods: [attention-topk, evit, tome, pitome, divprune, dpc-knn]
    schedules: [one-layer, progressive, {{one-layer: {{layer: [0, 2]}}}}]
"""
"""24 trials of one keep ratio."""
_ANOTHER = """
  recall:
    task: {{id: recall, num_examples: 96}}
    backbone: llama-recall
    methods: [recent-window, streaming-llm, h2o, snapkv, knorm, tova]
    schedules: [uniform, {{pyramid: {{beta: [2, 4]}}}}]
    objectives: {{quality: maximize, latency: minimize}}
"""
SWEEP = "seeds: [0, 1, 2]" + ONE_WORKLOAD + _ANOTHER
PER_STEP = 3 * (6 * 4 + 6 * 3)
"""Trials of one keep ratio."""
BATCH = 2_000
ENVIRONMENT = {"python": "3.11", "device": "cpu", "threads": 1}
Trials = list[tuple[str, str, TrialSpec]]


@dataclass(frozen=True)
class Timing:
    """How long one thing took, in seconds."""

    what: str
    where: str
    seconds: float
    """Wall time, the best of three where it was repeated."""
    cpu: float
    """Of this process and its children: other users of the machine do not count. Of a PostgreSQL
    server it says nothing."""


def planned(steps: int) -> Trials:
    """A plan of about ``PER_STEP * steps`` trials."""
    return list(plan(parse_sweep(SWEEP.format(steps=steps), str(Path.cwd() / "s.yaml"))).trials)


def fill(store: Store, trials: Trials) -> None:
    """Finish every trial with made-up numbers."""
    costs = {"digits": "flops", "recall": "latency"}
    spec = {
        "measure": MeasureSpec().model_dump(mode="json"),
        "workloads": {
            name: {"objectives": {"quality": "maximize", cost: "minimize"}}
            for name, cost in costs.items()
        },
    }
    store.begin_sweep("scale", "name: scale\n", spec, trials, [])
    rng = np.random.default_rng(0)
    parquet = to_parquet([0.5] * 8)
    environment = digest(ENVIRONMENT)
    with Database(store.url).write() as connection:  # a record for each would take minutes
        connection.execute(insert(Environment), [{"id": environment, "content": ENVIRONMENT}])
        for start in range(0, len(trials), BATCH):
            batch = [_finished(spec, rng) for _, _, spec in trials[start : start + BATCH]]
            ids = [result.trial_id for result in batch]
            attempts = [_attempt(result, environment) for result in batch]
            connection.execute(insert(Attempt), attempts)
            numbers = [(result.trial_id, result.metrics) for result in batch]
            untimed = [
                (trial, m.model_dump(exclude=set(TIME_METRICS))) for trial, m in numbers if m
            ]
            rows = [{"trial_id": trial, **values} for trial, values in untimed]
            connection.execute(insert(Measurement), rows)
            timings.keep(connection, [_timed(result, rng) for result in batch])
            outcomes = [{"trial_id": trial, "parquet": parquet} for trial in ids]
            connection.execute(insert(Outcomes), outcomes)
        connection.execute(update(Trial).values(state=TrialState.FINISHED))


def _attempt(result: TrialResult, environment: str) -> dict[str, Any]:
    return {
        "trial_id": result.trial_id,
        "state": result.state,
        "started_at": result.started_at,
        "seconds": result.seconds,
        "worker": result.worker,
        "environment_id": environment,
    }


def _finished(spec: TrialSpec, rng: np.random.Generator) -> TrialResult:
    cost = float(np.clip(spec.keep_ratio * rng.uniform(0.9, 1.1), 0.01, 1.0))
    quality = float(np.clip(1 - 0.3 * (1 - cost) ** 2 + rng.normal(0, 0.05), 0, 1))
    metrics = Metrics(
        quality=quality,
        quality_se=0.01,
        num_examples=8,
        tokens=spec.keep_ratio,
        tokens_per_layer=[144, 144, 72, 72],
        flops=cost,
        flops_per_example=1e9 * cost,
        kv=cost,
        kv_bytes=int(1e6 * cost),
        peak_memory=cost,
        peak_bytes=2**20,
        compressor_seconds=1e-4,
        compressor_share=0.01,
    )
    return TrialResult(
        trial_id=spec.id,
        state=TrialState.FINISHED,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=0.5,
        worker="node:1",
        metrics=metrics,
    )


def _timed(result: TrialResult, rng: np.random.Generator) -> TimingResult:
    assert result.metrics is not None
    latency = float(result.metrics.flops * rng.uniform(0.8, 1.2))
    return TimingResult(
        trial_id=result.trial_id,
        batch=MeasureSpec().batch,
        started_at=result.started_at,
        seconds=0.5,
        worker=result.worker,
        device="node/cpu",
        times=Times(latency=latency, latency_low=latency, latency_high=latency, latency_pairs=9),
        in_lane=True,
        environment=ENVIRONMENT,
    )


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """A URL on each kind of database."""
    with running() as server:
        name = server.create()
        yield {"sqlite": f"sqlite:///{folder}/scale.db", "postgresql": server.url(name)}


def timed(what: str, where: str, call: Callable[[], object], repeats: int = 3) -> Timing:
    """The best of some calls."""
    best = Timing(what, where, float("inf"), 0.0)
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), _cpu_seconds()
        call()
        seconds = time.perf_counter() - wall
        if seconds < best.seconds:
            best = Timing(what, where, seconds, _cpu_seconds() - cpu)
    return best


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def store_timings(url: str, where: str, trials: Trials, file: Path) -> Iterator[Timing]:
    """Filling a database, then every question; ``file`` plans the same trials."""
    from dashboards import tables
    from dashboards.rows import best_rows

    with Store(url) as store:
        yield timed("record", where, lambda: fill(store, trials), repeats=1)
        _analyse(url)
        yield timed("status", where, lambda: tables.status_rows(store))
        yield timed("status scale", where, lambda: tables.status_rows(store, "scale"))
        yield timed("frontier", where, lambda: best_rows(store, "scale"))
        yield timed("points", where, lambda: store.points("scale"))
        changed = _changed(trials)
        yield timed("diff", where, lambda: difference(store, "scale", changed))
    for command in (["status"], ["status", "scale"], ["frontier", "scale"], ["diff", str(file)]):
        shown = " ".join(command).replace(str(file), file.name)
        yield timed(f"paretoken {shown}", where, partial(_command, url, command))


def driver_memory(num_trials: int) -> list[float]:
    """Resident MB of the driver before a run and after each fifth of it."""
    trials = specs(num_trials)
    process, seen = psutil.Process(), []
    done = 0

    def note(event: PoolEvent) -> None:
        nonlocal done
        done += event.kind is EventKind.RECORDED
        if event.kind is EventKind.RECORDED and done % (num_trials // 5) == 0:
            seen.append(process.memory_info().rss / 2**20)

    with tempfile.TemporaryDirectory() as folder, cluster(num_cpus=2):
        url = f"sqlite:///{folder}/run.db"
        ledgers.plan(url, trials)
        seen.append(process.memory_info().rss / 2**20)
        report = run_pool(
            trials,
            url,
            resources=Resources(cpus=1, workers=2),
            runner="tests.orchestrator.trials:measure",
            ledger="tests.orchestrator.ledgers:SqlLedger",
            on_event=note,
        )
    assert report.finished == num_trials, report
    return seen


def yardstick() -> Timing:
    """Five million additions: how fast this machine is at this moment."""

    def add() -> None:
        total = 0
        for number in range(5_000_000):
            total += number

    return timed("yardstick", "", add)


def _analyse(url: str) -> None:
    """What PostgreSQL does by itself within a minute."""
    if make_url(url).get_backend_name() == "postgresql":
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        engine.dispose()


def _changed(trials: Trials) -> Trials:
    """Every twentieth trial of another version."""
    changed = list(trials)
    for index in range(0, len(changed), 20):
        workload, label, spec = changed[index]
        method = spec.method.model_copy(update={"version": 99})
        new = spec.model_copy(update={"method": method})
        changed[index] = (workload, label, new)
    return changed


def _command(url: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments, "--store", url]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The store and the planner at scale.")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--run", type=int, default=20_000, help="trials of the long run; 0: none")
    arguments = parser.parse_args()
    steps = arguments.trials // PER_STEP + 1
    memory = driver_memory(arguments.run) if arguments.run else []
    print(f"driver: {memory} MB", file=sys.stderr, flush=True)
    planned(3)  # what plans import
    trials: Trials = []
    measured = [yardstick(), timed("plan", "", lambda: trials.extend(planned(steps)), repeats=1)]
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as urls:
        file = Path(folder, "scale.yaml")
        file.write_text(SWEEP.format(steps=steps), encoding="utf-8")
        for where, url in urls.items():
            for timing in store_timings(url, where, trials, file):
                print(timing, file=sys.stderr, flush=True)
                measured.append(timing)
    measured.append(yardstick())
    if arguments.json:
        rows = [asdict(timing) for timing in measured]
        about = {"trials": len(trials), "cpus": os.cpu_count(), "driver_mb": memory}
        print(json.dumps({**about, "timings": rows}))
        return
    print(__doc__)
    Console().print(_table(measured, len(trials)))
    if memory:
        grown = ", ".join(f"{each:.0f}" for each in memory)
        print(f"Driver over {arguments.run:,} trials, MB before and after each fifth: {grown}")


def _table(timings: list[Timing], num_trials: int) -> Table:
    table = Table(title=f"{num_trials:,} finished trials")
    for heading in ("", "database", "seconds", "CPU seconds"):
        table.add_column(heading, justify="right" if "seconds" in heading else "left")
    for each in timings:
        table.add_row(each.what, each.where, f"{each.seconds:.2f}", f"{each.cpu:.2f}")
    return table


if __name__ == "__main__":
    main()
