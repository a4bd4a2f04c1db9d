"""``make bench``: how long the frontier with its uncertainty takes, and what a store adds.

Made-up outcomes of 0 and 1 for configurations that trade quality for cost; everything that
``paretoken frontier --confidence`` computes is timed: resampled means, the frontier of every
resample, intervals, differences to the baseline and groups. The aim is 5,000 configurations, 1,000
examples and 1,000 resamples within 10 s on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from store.frontiers.bootstrap import Bootstrap, Floats
from store.frontiers.frontier import Objectives
from store.frontiers.paired import Paired, Resampled
from store.frontiers.uncertainty import judge
from store.questions.answers import ask
from store.questions.asked import FrontierQuestion
from store.repository import Store
from tests.store import examples
from tests.store.comparisons import paired

AIM_SECONDS = 10.0
OBJECTIVES: dict[int, Objectives] = {
    2: {"quality": "maximize", "flops": "minimize"},
    3: {"quality": "maximize", "flops": "minimize", "kv": "minimize"},
    4: {"quality": "maximize", "flops": "minimize", "kv": "minimize", "weights": "minimize"},
}


def made_up(configurations: int, num_examples: int, objectives: Objectives) -> Paired:
    """The first configuration is the uncompressed model."""
    outcomes, costs = _drawn(configurations, num_examples)
    named = [dict(zip(("flops", "kv", "weights"), map(float, row), strict=True)) for row in costs]
    methods = ["identity", *(f"m{index}" for index in range(1, configurations))]
    return paired(outcomes, named, objectives, method=methods)


def stored(folder: Path, configurations: int, num_examples: int) -> Store:
    """The same in a database."""
    outcomes, costs = _drawn(configurations, num_examples)
    store = Store(f"sqlite:///{folder}/bench.db")
    specs = [examples.spec(index) for index in range(configurations)]
    workloads = {"bench": {"objectives": OBJECTIVES[2]}}
    store.begin_sweep(
        "bench", "", {"workloads": workloads}, [("bench", "2x", spec) for spec in specs], []
    )
    store.record(
        [
            replace(examples.finished(spec, flops=float(cost[0])), outcomes=values.tolist())
            for spec, values, cost in zip(specs, outcomes, costs, strict=True)
        ]
    )
    return store


def _drawn(configurations: int, num_examples: int) -> tuple[Floats, Floats]:
    """Outcomes [P, E] and three costs [P, 3]; what costs more is right more often."""
    rng = np.random.default_rng(0)
    costs = rng.random((configurations, 3))
    costs[0] = 1
    share = 0.3 + 0.6 * costs.mean(axis=1) ** 0.3 - 0.1 * rng.random(configurations)
    return (rng.random((configurations, num_examples)) < share[:, None]).astype(np.float64), costs


def timed(work: Callable[[], Any]) -> float:
    """Wall seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(configurations: int, num_examples: int, resamples: int) -> list[dict[str, Any]]:
    """Seconds by what is asked."""
    how = Bootstrap(resamples=resamples)
    size = {"configurations": configurations, "examples": num_examples, "resamples": resamples}
    rows = []
    for count, objectives in OBJECTIVES.items():
        table = made_up(configurations, num_examples, objectives)
        seconds = timed(lambda table=table: judge(Resampled(table, how)))  # type: ignore[misc]
        rows.append({"what": f"{count} objectives", **size, "seconds": seconds})
    with (
        tempfile.TemporaryDirectory() as folder,
        stored(Path(folder), configurations, num_examples) as store,
    ):
        seconds = timed(lambda: ask(store, "bench", FrontierQuestion(bootstrap=how)))
    rows.append({"what": "2 objectives, from SQLite to JSON rows", **size, "seconds": seconds})
    return rows


def main() -> int:
    """Print the table (``--json``: the numbers); 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configurations", type=int, default=5000)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = measure(chosen.configurations, chosen.examples, chosen.resamples)
    if chosen.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        table = Table(title=f"Frontier with uncertainty (aim: {AIM_SECONDS:.0f} s)")
        for heading in rows[0]:
            table.add_column(heading, justify="left" if heading == "what" else "right")
        for row in rows:
            cells = [f"{v:,.2f}" if isinstance(v, float) else str(v) for v in row.values()]
            table.add_row(*cells)
        Console().print(table)
    return int(rows[0]["seconds"] > AIM_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
