"""What a race did, as rows of plain values: who was stopped where and why, who ran to the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from methods.naming import called
from store.races.racing import Configuration, Place, Race, configuration, replayed
from store.records import Point
from store.repository import Store

Row = dict[str, Any]


def race_rows(store: Store, sweep: str, workload: str | None = None) -> list[Row]:
    """For every workload what was evaluated, and every configuration's place, the last first.

    Raises ValueError for a sweep or workload that does not exist, and for one that was not raced.
    """
    races = replayed(store, sweep)
    store.points(sweep, workload)  # names the nearest workload
    sizes = store.spec(sweep)["search"]["examples"]
    points = store.rungs(sweep)
    chosen = (name for name in races if workload in (None, name))
    return [_workload_row(name, races[name], points[name], sizes[name]) for name in chosen]


def reasons(store: Store, sweep: str) -> dict[str, str]:
    """What the race says about each trial that stands in the sweep's plan."""
    races = replayed(store, sweep)
    sizes = store.spec(sweep)["search"]["examples"]
    found = {}
    for point in store.points(sweep):
        place = races[point.workload].places.get(configuration(point))
        if place is not None:
            labels = _labels(dict(_named([point])))
            found[point.trial] = _reason(place, sizes[point.workload][-1], labels)
    return found


def _workload_row(name: str, race: Race, points: list[Point], sizes: list[int]) -> Row:
    named = dict(_named(points))
    labels = _labels(named)
    total = sizes[-1]
    rows = [
        {**_described(named[each]), **_told(place, total, labels)}
        for each, place in race.places.items()
    ]
    rows.sort(key=lambda row: (-row["examples"], row["verdict"] == "out", -row["probability"]))
    longest: Counter[tuple[Configuration, int]] = Counter()
    for each, point in _named(points):
        key = (each, point.seed)
        longest[key] = max(longest[key], int(point.metrics["num_examples"] or 0))
    evaluated = sum(longest.values())
    return {
        "workload": name,
        "examples": total,
        "rungs": sizes,
        "waiting": len(race.waiting),
        "evaluated": evaluated,
        "exhaustive": total * len(longest),
        "share": evaluated / (total * len(longest)),
        "configurations": rows,
    }


def _named(points: list[Point]) -> Iterator[tuple[Configuration, Point]]:
    for point in points:
        yield configuration(point), point


def _labels(named: Mapping[Configuration, Point]) -> dict[Configuration, str]:
    """Method and budget; hyperparameters where a method has several."""
    methods = Counter((name[0], point.keep_label) for name, point in named.items())
    labels = {}
    for name, point in named.items():
        several = methods[name[0], point.keep_label] > 1
        method = called(name[0], json.loads(name[1]) if several else {})
        labels[name] = f"{method} keep {point.keep_label}"
    return labels


def _described(point: Point) -> Row:
    return {
        "method": point.method,
        "hyperparameters": point.hyperparameters,
        "keep_ratio": point.keep_ratio,
        "keep_label": point.keep_label,
        "schedule": point.schedule,
    }


def _told(place: Place, total: int, labels: Mapping[Configuration, str]) -> Row:
    rival = place.rival
    return {
        "examples": place.examples,
        "verdict": place.verdict,
        "probability": place.probability,
        "rival": labels.get(rival, rival[0]) if rival else None,
        "reason": _reason(place, total, labels),
    }


def _reason(place: Place, total: int, labels: Mapping[Configuration, str]) -> str:
    share = Fraction(place.examples, total)
    where = "with all examples" if share == 1 else f"at {share}"
    if place.verdict != "out":
        return f"{place.verdict} {where}, p={place.probability:.2f}"
    if place.rival is None:
        return f"stopped {where}: lacks a seed or a cost"
    rival = labels.get(place.rival) or f"{place.rival[0]} keep {place.rival[2]:g}"
    if place.for_sure:
        return f"stopped {where}: could not reach {rival} any more"
    word = "out" if share == 1 else "stopped"
    return f"{word} {where}: dominated by {rival} with p={1 - place.probability:.2f}"
