"""What the tables that answer questions have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column
from dashboards.rows import variant_labels
from dashboards.words import decimals

Row = Mapping[str, Any]
SHOWN: Final = 20
"""Rows and entries of what may be long."""


def pages(
    rows: Sequence[Row], page: Callable[[Row], Sequence[RenderableType]], legend: str
) -> RenderableType:
    """A page for every workload that has an answer, the reason for others, then the legend."""
    parts: list[RenderableType] = []
    for row in rows:
        if row["unanswered"] is not None:
            parts += [Text(f"{row['workload']}: {row['unanswered']}"), Text()]
            continue
        parts += [*page(row), *(Text(f"Note: {note}") for note in row["notes"])]
        parts += [Text()] * bool(row["notes"])
    return Group(*parts, *([Text(legend)] if legend else []))


def basis(row: Row) -> str:
    """What an answer rests on."""
    seeds = len(row["seeds"])
    clusters = f" in {row['clusters']} clusters" if row["clusters"] < row["examples"] else ""
    return f"{row['examples']} examples{clusters}, {seeds} seed{'s' * (seeds > 1)}"


def configurations(rows: Sequence[Row], page: Row, *more: str) -> list[Column]:
    """Columns that say what configurations are, with their objectives and ``more`` metrics."""
    costs = dict.fromkeys([*page["objectives"], *more])
    costs.pop("quality", None)
    return [
        Column("method", labels(rows), justify="left"),
        Column("keep", [each["keep_label"] for each in rows]),
        Column("schedule", [each["schedule"] for each in rows], 50, "left"),
        Column("quality", [decimals(each["quality"]) for each in rows]),
        *(Column(cost, [decimals(each["metrics"][cost]) for each in rows]) for cost in costs),
    ]


def labels(rows: Iterable[Row]) -> list[str]:
    """Names of methods, with the hyperparameters in which they differ."""
    variants = [_Variant(each["method"], _canonical(each["hyperparameters"])) for each in rows]
    named = variant_labels(variants)
    return [named[each] for each in variants]


class _Variant(NamedTuple):
    method: str
    hyperparameters_json: str


def _canonical(hyperparameters: Mapping[str, Any]) -> str:
    return json.dumps(hyperparameters, sort_keys=True)


def name(configuration: Row) -> str:
    """A configuration as `paretoken breaks` takes it."""
    return f"{configuration['method']}@{configuration['keep_label']}"
