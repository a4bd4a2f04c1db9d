"""Every method beside random tokens, from sweeps that have run: writes ``methods/measured.csv``.

    python -m tests.benchmarks.against_random --store sqlite:///.paretoken/paretoken.db

A method is compared with the control ``random`` at the same place of the same weights, with the
same schedule, budget and examples. Outcomes are paired: each example's difference is averaged over
the seeds that both have, and Wilcoxon's signed-rank test over examples says how likely a difference
as large is if method and control are as good as each other. Where the sweeps have no such control
(a paper's schedule that ``random`` was not run with), the comparison is left out and counted;
``--controls FILE`` writes a sweep that measures what is missing, after which the first command,
with that sweep in the same store, is complete.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from methods import registry
from methods.controls.random import Random
from methods.evidence import Measured
from store.records import Point
from store.repository import Store
from store.url import absolute, default_url
from sweeps.tasks import registry as tasks_registry

SWEEPS = ("all-vision", "all-vlm", "all-kv")
CONTROLS = "random-controls"
TARGET = Path(registry.__file__).with_name("measured.csv")
Floats = NDArray[np.float64]


class Setting(NamedTuple):
    """What method and control have to share."""

    data: str
    backbone: str
    place: str
    schedule: str
    keep: str


class Contender(NamedTuple):
    """A method with its hyperparameters in one workload."""

    id: str
    params: str
    sweep: str
    workload: str
    setting: Setting


Trials = dict[tuple[int, str], Point]
"""Trials that differ in nothing but their seed and its weights, by both."""


def contenders(
    store: Store, sweeps: Sequence[str], keeps: Sequence[str]
) -> dict[Contender, Trials]:
    """Everything to be compared, in the order of the registry and of the sweeps."""
    found: dict[Contender, Trials] = defaultdict(dict)
    for sweep in sweeps:
        for point in store.points(sweep):
            place = _place(point)
            if place in Random.places and point.keep_label in keeps and not _is_control(point):
                setting = _setting(point, place)
                key = Contender(point.method, _params(point), sweep, point.workload, setting)
                found[key][_seed(point)] = point
    order = list(registry.entries())
    return {key: found[key] for key in sorted(found, key=lambda key: order.index(key.id))}


def controls(store: Store) -> dict[Setting, Trials]:
    """The random control in every setting in which any sweep of the store has it."""
    found: dict[Setting, Trials] = defaultdict(dict)
    for status in store.sweeps():
        for point in store.points(status.name):
            if _is_control(point):
                found[_setting(point, _place(point))][_seed(point)] = point
    return found


def comparison(contender: Contender, ours: Floats, random: Floats, sign: int = 1) -> Measured:
    """Outcomes [seeds, examples] of a method and of the control; ``sign`` -1 if less is better."""
    gains_SE = sign * (ours - random)
    gains_E = gains_SE.mean(0).round(9)
    return Measured(
        id=contender.id,
        params=contender.params or None,
        sweep=contender.sweep,
        workload=contender.workload,
        schedule=contender.setting.schedule,
        keep=contender.setting.keep,
        seeds=len(ours),
        examples=ours.shape[1],
        quality=round(float(ours.mean()), 4),
        random=round(float(random.mean()), 4),
        difference=round(float(gains_SE.mean()), 4),
        p=float(f"{wilcoxon(gains_E).pvalue:.2g}") if gains_E.any() else 1.0,
        wins=int((gains_SE.mean(1) > 0).sum()),
    )


def compare(
    store: Store, sweeps: Sequence[str], keeps: Sequence[str]
) -> tuple[list[Measured], list[Point]]:
    """All comparisons, and one trial for each setting that has no control."""
    known, rows, missing = controls(store), [], {}
    for contender, trials in contenders(store, sweeps, keeps).items():
        others = known.get(contender.setting, {})
        seeds = sorted(trials.keys() & others.keys())
        if not seeds:
            missing[contender.setting] = next(iter(trials.values()))
            continue
        pair = (_outcomes(store, (of[seed] for seed in seeds)) for of in (trials, others))
        task = tasks_registry.entry(trials[seeds[0]].spec["task"]["id"]).task
        rows.append(comparison(contender, *pair, 1 if task.direction == "maximize" else -1))
    return rows, list(missing.values())


def controls_sweep(missing: Iterable[Point], seeds: Sequence[int]) -> str:
    """A sweep file that measures the control where it is missing."""
    workloads = {
        f"{point.workload}-{number}": {
            "task": {"id": point.spec["task"]["id"], **point.spec["task"]["params"]},
            "backbone": point.spec["backbone"]["name"],
            "methods": [_random_at(_place(point), _main_place(point))],
            "schedules": [_written(point.spec["schedule"])],
            "keep": [_number(point.keep_label)],
        }
        for number, point in enumerate(missing)
    }
    measure = {"latency_pairs": 0}
    sweep = {"name": CONTROLS, "seeds": [*seeds], "measure": measure, "workloads": workloads}
    return yaml.safe_dump(sweep, sort_keys=False)


def write(rows: Iterable[Measured], target: Path) -> None:
    """The table, with a header even where it is empty."""
    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(Measured.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.model_dump() for row in rows)


def main() -> None:
    """Read a store, write the table."""
    arguments = _arguments()
    with Store(absolute(arguments.store) if arguments.store else default_url()) as store:
        there = [status.name for status in store.sweeps()]
        sweeps = arguments.sweep or [name for name in SWEEPS if name in there]
        rows, missing = compare(store, sweeps, arguments.keep or ["0.25"])
        seeds = sorted({point.seed for sweep in sweeps for point in store.points(sweep)})
    write(rows, arguments.out)
    better = sum(row.better for row in rows)
    _say(f"{arguments.out}: {len(rows)} comparisons of {', '.join(sweeps)}; {better} better")
    if arguments.controls and missing:
        arguments.controls.write_text(controls_sweep(missing, seeds), encoding="utf-8")
        _say(f"{arguments.controls}: random in {len(missing)} settings; run it, then this again")
    elif missing:
        _say(f"{len(missing)} settings lack the random control: --controls FILE writes a sweep")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", help="database URL; default: paretoken's own")
    parser.add_argument("--sweep", action="append", help=f"default: {', '.join(SWEEPS)}; repeats")
    parser.add_argument("--keep", action="append", help="budget as written, default 0.25; repeats")
    parser.add_argument("--out", type=Path, default=TARGET, help="default: %(default)s")
    parser.add_argument("--controls", type=Path, help="write a sweep of the controls that lack")
    return parser.parse_args()


def _setting(point: Point, place: str) -> Setting:
    spec = point.spec
    return Setting(spec["data"], spec["backbone"]["name"], place, point.schedule, point.keep_label)


def _seed(point: Point) -> tuple[int, str]:
    return point.seed, point.spec["backbone"]["fingerprint"]


def _is_control(point: Point) -> bool:
    stages = point.hyperparameters.get("stages", [])
    alone = [stage["method"] for stage in stages] == [Random.id()]
    return point.method == Random.id() or alone


def _place(point: Point) -> str:
    """Where the method is attached; nowhere in particular if its stages decide that."""
    main, places = _main_place(point), registry.entry(point.method).places
    if _is_control(point) and point.method != Random.id():
        return point.hyperparameters["stages"][0]["at"] or main
    return main if main in places else next(iter(places), "")


def _main_place(point: Point) -> str:
    return tasks_registry.entry(point.spec["task"]["id"]).task.place


def _params(point: Point) -> str:
    method = registry.build(point.method, point.hyperparameters)
    changed = method.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(changed) if changed else ""


def _outcomes(store: Store, points: Iterator[Point]) -> Floats:
    columns = (store.outcomes(point.trial)["outcome"].to_numpy(np.float64) for point in points)
    return np.stack(list(columns))


def _random_at(place: str, main: str) -> Any:
    if place == main:
        return Random.id()
    return {"stack": {"stages": [[{"method": Random.id(), "at": place}]]}}


def _written(schedule: dict[str, Any]) -> Any:
    own = {key: value for key, value in schedule.items() if key != "kind"}
    return {schedule["kind"]: own} if own else schedule["kind"]


def _number(keep: str) -> float | str:
    try:
        return float(keep)
    except ValueError:
        return keep


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
