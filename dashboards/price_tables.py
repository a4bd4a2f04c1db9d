"""The price of a plan for the terminal, from the rows of `paretoken plan --json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from dashboards.words import size

Json = Mapping[str, Any]
_BASES = {
    "method": "past trials of the same task, backbone and method",
    "backbone": "other methods on the same task and backbone",
    "none": "nothing: no past trials (--probe runs a few)",
}


def price_parts(row: Json) -> RenderableType:
    """New and reused, time, GPU hours, memory, and what will not fit."""
    parts: list[RenderableType] = [Text(line) for line in _lines(row)]
    needs = row["memory"]
    lacking = [each for each in needs if not each["fits"]]
    if lacking:
        parts += [Text(), _needs_table("Will not fit", lacking)]
    return Group(*parts)


def _lines(row: Json) -> Iterator[str]:
    price = row["price"]
    counts = f"{row['new']:,} to measure, {row['reused']:,} reused"
    yield f"{counts}, {row['num_impossible']:,} impossible"
    if not price["trials"]:
        return
    unknown = price["by_basis"].get("none", 0)
    if unknown < price["trials"]:
        low, high = _time(price["low_seconds"]), _time(price["high_seconds"])
        without = f", and {unknown:,} trials of unknown length" if unknown else ""
        yield (
            f"about {_time(price['wall_seconds'])} ({low} to {high}) on {price['workers']} "
            f"workers{without}; {price['gpu_hours']:.2f} GPU hours"
        )
    for basis, words in _BASES.items():
        if basis in price["by_basis"]:
            yield f"  {price['by_basis'][basis]:,} from {words}"
    yield from _memory(row["memory"])


def _memory(needs: list[Json]) -> Iterator[str]:
    largest = max(needs, key=lambda each: each["needed"], default=None)
    if largest is None:
        return
    words = f"{size(largest['needed'])} of the {size(largest['slot_bytes'])} of a worker"
    guess = "" if largest["peak_bytes"] else "; weights alone, activations are not measured yet"
    yield f"memory: at most {words} ({largest['backbone']}){guess}"


def _needs_table(title: str, needs: list[Json]) -> FittingTable:
    columns = [
        Column("count", [f"{each['trials']:,}" for each in needs]),
        Column("workload", [each["workload"] for each in needs], justify="left"),
        Column("backbone", [each["backbone"] for each in needs], justify="left", folds=True),
        Column("weights", [size(each["weight_bytes"]) or "?" for each in needs], 80),
        Column("activations", [size(each["peak_bytes"]) or "?" for each in needs], 70),
        Column("a worker has", [size(each["slot_bytes"]) for each in needs]),
    ]
    return FittingTable(title, columns)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
