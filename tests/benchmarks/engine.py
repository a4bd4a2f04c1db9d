"""``make bench``: what the engine costs per trial, beside Ray Tune, in one run.

Every contender runs trials of 0.2 s (CPU time on an undisturbed thread) on two workers. Ours writes
durable results to SQLite and feeds MLflow while it runs; Tune runs with its loggers off and stores
nothing, which favours it. Repeats alternate between contenders.

- compute: wall time inside trials. On a machine with two cores the driver, the writer and Ray's own
  processes take turns with the workers, which lengthens compute: ``length`` is its mean over 0.2 s.
- utilisation: compute / (wall x workers). Ours: from the first trial handed out to the last durable
  result. Tune: from the first trial's start to the last one's end.
- undisturbed: the same with 0.2 s for every trial instead of what it took; contention counts as
  loss, whoever causes it.
- overhead: (wall x workers - compute) / trials.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from orchestrator.cluster.connection import cluster
from orchestrator.engine.crew import Resources
from orchestrator.engine.pool import run_pool
from store.repository import Store
from tests.benchmarks import tuned, workload

SECONDS = 0.2
WORKERS = 2


@dataclass(frozen=True)
class Run:
    """One repeat of one contender; times in seconds."""

    trials: int
    wall: float
    compute: float
    mirror_behind: float = 0.0
    """Ours: how long MLflow needed to catch up afterwards."""

    @property
    def utilisation(self) -> float:
        return self.compute / (self.wall * WORKERS)

    @property
    def undisturbed(self) -> float:
        return self.trials * SECONDS / (self.wall * WORKERS)

    @property
    def length(self) -> float:
        return self.compute / (self.trials * SECONDS)

    @property
    def overhead_ms(self) -> float:
        return (self.wall * WORKERS - self.compute) / self.trials * 1000


def ours(steps: int, trials: int, folder: str) -> Run:
    """The pool, with SQLite and MLflow."""
    specs = [workload.spec(seed, steps) for seed in range(trials)]
    url = f"sqlite:///{folder}/bench.db"
    with Store(url) as store:
        store.begin_sweep("bench", "", {}, [("bench", "1", spec) for spec in specs], [])
    report = run_pool(
        specs, url, resources=Resources(workers=WORKERS), runner="tests.benchmarks.workload:run"
    )
    assert report.finished == trials, report
    assert report.mirror_error is None, report.mirror_error
    busy = sum(report.busy_seconds.values())
    return Run(trials, report.seconds, busy, report.mirror_seconds)


def tune_function(steps: int, trials: int, folder: str) -> Run:
    """Ray Tune's function API."""
    return _tuned(tuned.fit(tuned.function_trial, trials, steps, folder, reuse=False))


def tune_reuse(steps: int, trials: int, folder: str) -> Run:
    """Ray Tune's class API with reuse_actors."""
    return _tuned(tuned.fit(tuned.ReusedTrial, trials, steps, folder, reuse=True))


def _tuned(trials: list[dict[str, float]]) -> Run:
    wall = max(trial["ended"] for trial in trials) - min(trial["started"] for trial in trials)
    return Run(len(trials), wall, sum(trial["ended"] - trial["started"] for trial in trials))


Contender = tuple[str, Callable[[int, int, str], Run], int]
CONTENDERS: list[Contender] = [
    ("paretoken pool, SQLite + MLflow", ours, 200),
    ("Ray Tune, class API, reuse_actors", tune_reuse, 40),
    ("Ray Tune, function API", tune_function, 12),
]


def measure(repeats: int) -> tuple[int, dict[str, list[Run]]]:
    """All contenders, alternating."""
    steps = workload.steps_for(SECONDS)
    runs: dict[str, list[Run]] = {name: [] for name, _, _ in CONTENDERS}
    with cluster(num_cpus=WORKERS):
        for _ in range(repeats):
            for name, contender, trials in CONTENDERS:
                with tempfile.TemporaryDirectory() as folder:
                    runs[name].append(contender(steps, trials, folder))
                print(f"{name}: {runs[name][-1]}", file=sys.stderr)
    return steps, runs


NUMBERS = ("utilisation", "undisturbed", "overhead_ms", "length", "wall", "mirror_behind")


def as_json(steps: int, runs: dict[str, list[Run]]) -> str:
    """Every repeat, and the machine."""
    machine = {"cpus": os.cpu_count(), "load": os.getloadavg(), "platform": platform.platform()}
    contenders = {
        name: [{**asdict(run), **{n: getattr(run, n) for n in NUMBERS}} for run in repeats]
        for name, repeats in runs.items()
    }
    return json.dumps({"machine": machine, "steps": steps, "contenders": contenders}, indent=2)


def as_table(runs: dict[str, list[Run]]) -> Table:
    """Medians, with the smallest and largest repeat."""
    table = Table(title=f"Trials of {SECONDS} s on {WORKERS} workers: median (lowest to highest)")
    for heading in ("", "trials", *NUMBERS):
        table.add_column(heading.replace("_", " "), justify="right" if heading else "left")
    for name, repeats in runs.items():
        cells = [_spread([getattr(run, number) for run in repeats]) for number in NUMBERS]
        table.add_row(name, f"{len(repeats)} x {repeats[0].trials}", *cells)
    return table


def _spread(values: list[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description="What the engine costs per trial.")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.chdir(Path(__file__).parents[2])  # the workers import this file from here
    with redirect_stdout(sys.stderr):  # Tune prints banners
        steps, runs = measure(arguments.repeats)
    if arguments.json:
        print(as_json(steps, runs))
        return
    print(__doc__)
    Console(width=160).print(as_table(runs))


if __name__ == "__main__":
    main()
