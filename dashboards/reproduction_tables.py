"""A trial that was run again, beside what was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable

Json = Mapping[str, Any]


def reproduction_page(row: Json) -> RenderableType:
    """What was run, which conditions changed, which numbers did, and the times."""
    conditions = [each for each in row["conditions"] if not each["same"]]
    numbers = [each for each in row["numbers"] if not each["same"]]
    parts: list[RenderableType] = [Text(_title(row), style="bold"), Text(_measured(row)), Text()]
    if conditions:
        parts.append(_pairs("Conditions that differ", conditions))
    else:
        parts += [Text(f"All {len(row['conditions'])} conditions are the same."), Text()]
    if row["refused"]:
        return Group(*parts, Text(f"Not run: {row['refused']}."))
    if numbers:
        parts.append(_pairs("Numbers that differ", numbers))
    parts += [*map(Text, _verdict(row)), Text()]
    taken = [each for each in row["times"] if (each["then"], each["now"]) != (None, None)]
    return Group(*parts, _pairs("Times, which decide nothing", taken, "{:.4g}".format))


def _title(row: Json) -> str:
    spec = row["spec"]
    return (
        f"{row['trial']}: {spec['method']['id']} keep {spec['keep_ratio']:g} seed {spec['seed']}, "
        f"{spec['task']['id']} on {spec['backbone']['name']}"
    )


def _measured(row: Json) -> str:
    before = row["before"]
    return f"first run {before['started_at'][:19].replace('T', ' ')} UTC on {before['worker']}"


def _verdict(row: Json) -> list[str]:
    lines = []
    if row["error"]:
        lines.append(f"This time it failed: {row['error'].splitlines()[0]}")
    same = sum(each["same"] for each in row["numbers"])
    if row["equal"]:
        ending = "" if row["num_outcomes"] == 0 else f" and {row['num_outcomes']} outcomes"
        lines.append(f"Reproduced: {same} numbers{ending} are equal, bit by bit.")
    else:
        differ = len(row["outcomes_that_differ"])
        lines.append(
            f"Not reproduced: {len(row['numbers']) - same} of {len(row['numbers'])} numbers and "
            f"{differ} of {row['num_outcomes']} outcomes differ."
        )
    return lines


def _pairs(title: str, pairs: Sequence[Json], written: Callable[[Any], str] = str) -> FittingTable:
    then, now = (
        ["-" if each[when] is None else written(each[when]) for each in pairs]
        for when in ("then", "now")
    )
    columns = [
        Column("", [each["name"] for each in pairs], justify="left"),
        Column("stored", then, justify="left", folds=True),
        Column("now", now, justify="left", folds=True),
    ]
    return FittingTable(title, columns)
