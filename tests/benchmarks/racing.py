"""``make bench``: what a race saves on sweeps whose every outcome is known, and what it misses.

Replays races on the stored outcomes of exhaustive sweeps, with several seeds of the resampling and,
with ``--orders``, on examples in other orders. A race asks for trials as it would ask workers; it
is given the front of what the store holds. Its answer, the configurations that it did not stop and
that are on the frontier more often than not, is compared with the exhaustive probabilities: none of
those above 0.9 may be missing, none below 0.1 be there.

Such a store takes about half an hour on two cores::

    paretoken run sweeps/all-kv.yaml
    paretoken run sweeps/all-vision.yaml
    python -m tests.benchmarks.racing
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from orchestrator.commands.console import store_url
from store.frontiers.bootstrap import Bootstrap
from store.frontiers.frontier import Objectives
from store.frontiers.paired import Paired, Resampled, pair
from store.frontiers.uncertainty import judge
from store.races import racing
from store.races.racing import Configuration, Race, Rules, Runner, configuration
from store.records import Point
from store.repository import Store
from store.serialization import ExampleOutcomes
from sweeps.search import DEFAULT_RUNGS
from sweeps.search import Race as RaceSearch
from sweeps.tasks import registry as tasks_registry

SWEEPS = ("all-kv", "all-vision")
AIM = 0.3
SURE, NEVER = 0.9, 0.1


@dataclass(frozen=True)
class Known:
    """A workload that was measured exhaustively."""

    sweep: str
    name: str
    points: list[Point]
    objectives: Objectives
    outcomes: Mapping[str, ExampleOutcomes]
    probability: dict[Configuration, float]
    """Of being on the frontier, by everything there is."""

    @property
    def examples(self) -> int:
        """Of one trial."""
        return max(len(each.values) for each in self.outcomes.values())

    def shuffled(self, order: int) -> Known:
        """The same with its examples, or clusters of them, in another order; 0 is their own."""
        if not order:
            return self
        rng = np.random.default_rng(order)
        clusters = next(iter(self.outcomes.values())).clusters
        numbers = np.arange(self.examples) if clusters is None else np.asarray(clusters)
        names = rng.permutation(np.unique(numbers))
        places = np.concatenate([np.flatnonzero(numbers == name) for name in names])
        moved = {
            trial: ExampleOutcomes(
                each.values[places], None if each.clusters is None else each.clusters[places]
            )
            for trial, each in self.outcomes.items()
        }
        return dataclasses.replace(self, outcomes=moved)


def known(store: Store, sweep: str, epsilon: float) -> Iterator[Known]:
    """Every workload of a sweep, with its exhaustive probabilities at the same epsilon."""
    objectives = store.objectives(sweep)
    points: dict[str, list[Point]] = defaultdict(list)
    for point in store.points(sweep):
        points[point.workload].append(point)
    for name, members in points.items():
        outcomes = store.all_outcomes(point.trial for point in members)
        judged = judge(_resampled(pair(members, outcomes, objectives[name])), epsilon)
        odds = {_name(each.configuration): each.probability for each in judged}
        yield Known(sweep, name, members, objectives[name], outcomes, odds)


def _resampled(paired: Paired) -> Resampled:
    return Resampled(paired, Bootstrap(resamples=2000))


def _name(group: Any) -> Configuration:
    return group.method, group.hyperparameters_json, group.keep_ratio, group.schedule


def replay(
    workload: Known, sizes: Sequence[int], batch_size: int, rules: Rules
) -> tuple[Race, int]:
    """The race, and how many examples it evaluated, all seeds together.

    A batch that the rung before cut short is evaluated again, and counted again. What cannot hope
    for a place, because a cost is only simulated, is not asked for.
    """
    by_key = {(configuration(p), p.seed): p for p in workload.points}
    seeds = sorted({point.seed for point in workload.points})
    names = dict.fromkeys(name for name, _ in by_key)
    runners = {name: Runner(name) for name in names if name in workload.probability}
    outcomes: dict[str, ExampleOutcomes] = {}
    seen: dict[tuple[Configuration, int], int] = defaultdict(int)
    evaluated = 0
    while True:
        race = racing.run(
            list(runners.values()), seeds, sizes, workload.objectives, outcomes, rules
        )
        if not race.waiting:
            return race, evaluated
        for key in race.waiting:
            if key not in by_key:
                runners[key[0]].lost.add(key[1])
                continue
            front = _front(by_key[key], race.examples)
            whole = workload.outcomes[by_key[key].trial]
            clusters = None if whole.clusters is None else whole.clusters[: race.examples]
            outcomes[front.trial] = ExampleOutcomes(whole.values[: race.examples], clusters)
            runners[key[0]].points.setdefault(key[1], []).append(front)
            evaluated += race.examples - seen[key] // batch_size * batch_size
            seen[key] = race.examples


def _front(point: Point, examples: int) -> Point:
    metrics = {**point.metrics, "num_examples": examples}
    return dataclasses.replace(point, trial=f"{point.trial} {examples}", metrics=metrics)


def measure(
    workload: Known, search: RaceSearch, batch_size: int, orders: int, seeds: int
) -> dict[str, Any]:
    """How a workload's races went, on average over ``seeds`` and ``orders``."""
    least = tasks_registry.entry(workload.points[0].spec["task"]["id"]).task.least_examples()
    sizes = search.sizes(workload.examples, batch_size, least)
    sure = {name for name, p in workload.probability.items() if p > SURE}
    never = {name for name, p in workload.probability.items() if p < NEVER}
    spent, missed, wrong = [], [], []
    for order in range(orders):
        turned = workload.shuffled(order)
        for seed in range(seeds):
            rules = Rules(search.epsilon, search.confidence, seed)
            race, evaluated = replay(turned, sizes, batch_size, rules)
            found = {n for n, s in race.places.items() if s.probability > 0.5}
            spent.append(evaluated)
            missed.append(len(sure - found))
            wrong.append(len(found & never))
    exhaustive = sum(len(workload.outcomes[point.trial].values) for point in workload.points)
    return {
        "sweep": workload.sweep,
        "workload": workload.name,
        "configurations": len({configuration(point) for point in workload.points}),
        "examples": workload.examples,
        "sure": len(sure),
        "evaluated": float(np.mean(spent)),
        "exhaustive": exhaustive,
        "share": float(np.mean(spent)) / exhaustive,
        "missed": sum(missed) / len(missed),
        "wrong": sum(wrong) / len(wrong),
        "races": len(spent),
    }


def _totals(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for sweep in dict.fromkeys(row["sweep"] for row in rows):
        own = [row for row in rows if row["sweep"] == sweep]
        added = ("configurations", "sure", "evaluated", "exhaustive", "missed", "wrong")
        total: dict[str, Any] = {name: sum(row[name] for row in own) for name in added}
        share = total["evaluated"] / total["exhaustive"]
        races = own[0]["races"]
        named = {"sweep": sweep, "workload": "all", "examples": "", "share": share, "races": races}
        found.append(named | total)
    return found


def _table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    headings = ("sweep", "workload", "configurations", "examples", "sure", "share", "missed")
    table = Table(title=title)
    for heading in (*headings, "wrong"):
        table.add_column(heading, justify="left" if heading in headings[:2] else "right")
    for row in rows:
        cells = [row[heading] for heading in (*headings, "wrong")]
        table.add_row(*(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells))
    return table


def main() -> int:
    """Print the savings (``--json``: the numbers); 1 where a sweep misses the aim."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--store", help="Database with exhaustive sweeps; default: the project's.")
    parser.add_argument("--sweeps", nargs="+", default=SWEEPS)
    parser.add_argument("--seeds", type=int, default=5, help="Seeds of the resampling.")
    parser.add_argument("--orders", type=int, default=1, help="Orders of the examples.")
    parser.add_argument("--epsilon", type=float, default=0.01)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--rungs", nargs="+", default=[str(rung) for rung in DEFAULT_RUNGS])
    batches = "Examples in one forward pass; only whole batches are kept from rung to rung."
    parser.add_argument("--batch-size", type=int, default=4, help=batches)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    search = RaceSearch.model_validate(
        {"strategy": "race", "epsilon": chosen.epsilon, "confidence": chosen.confidence}
        | {"rungs": list(chosen.rungs)}
    )
    with Store(store_url(chosen.store)) as store:
        stored = {each.name: each for each in store.sweeps()}
        absent = [name for name in chosen.sweeps if name not in stored or not stored[name].finished]
        if absent:
            missing = ", ".join(f"sweeps/{name}.yaml" for name in absent)
            sys.stderr.write(f"nothing to replay: run {missing} first, or name a --store\n")
            return 0
        rows = [
            measure(workload, search, chosen.batch_size, chosen.orders, chosen.seeds)
            for sweep in chosen.sweeps
            for workload in known(store, sweep, chosen.epsilon)
        ]
    totals = _totals(rows)
    if chosen.json:
        sys.stdout.write(json.dumps({"workloads": rows, "sweeps": totals}, indent=2) + "\n")
    else:
        title = f"Races: share of the example evaluations (aim: {AIM:.0%})"
        Console().print(_table([*rows, *totals], title))
    reached = all(t["share"] <= AIM and not t["missed"] and not t["wrong"] for t in totals)
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
