"""Tasks and backbones for the terminal: the listings, and the page of one of them.

Only Rich is imported. Rows are those of the listings, ready for ``--json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable, properties

Row = Mapping[str, Any]
_BETTER: Final = {"maximize": "higher", "minimize": "lower"}


def tasks_table(rows: Sequence[Row]) -> RenderableType:
    """Every task on a line; parameters that all have are named once, below."""
    common = [
        name
        for name in (rows[0]["parameters"] if rows else ())
        if all(name in row["parameters"] for row in rows)
    ]
    own = [[name for name in row["parameters"] if name not in common] for row in rows]
    columns = [
        Column("id", [row["id"] for row in rows], justify="left"),
        Column("place", [row["place"] for row in rows], justify="left"),
        Column("metric", [_metric(row) for row in rows], justify="left", folds=True),
        Column("what it asks", [row["summary"] for row in rows], justify="left", folds=True),
        Column("parameters", ["\n".join(names) for names in own], justify="left"),
    ]
    legend = f"every task has {' and '.join(common)}. " * bool(common)
    note = Text(f"{legend}All with --json, one with its id.")
    return Group(FittingTable(f"Tasks: {len(rows)}", columns), note)


def task_page(row: Row) -> RenderableType:
    """One task: what it is, its parameters, its card."""
    lines = {
        "task": f"{row['id']} (version {row['version']})",
        "what": row["summary"],
        "place": row["place"],
        "metric": f"{row['metric']}, {_BETTER[row['direction']]} is better",
        "data": row["data"],
        "runs on": _listed(row["backbones"]) or "none of the reference backbones",
        "yaml": row["yaml"],
    }
    return Group(properties(lines), _parameters(row["parameters"]), Text(row["about"]))


def backbones_table(rows: Sequence[Row]) -> RenderableType:
    """Every reference backbone on a line, then every shape without weights."""
    trained = [row for row in rows if row["kind"] == "reference"]
    shapes = [row for row in rows if row["kind"] == "shape"]
    seeds = Column("seeds", [_listed(row["seeds"]) for row in trained], justify="left")
    return Group(
        _backbones(f"Reference backbones: {len(trained)}", trained, seeds),
        Text("What one was trained for, its card says.\n"),
        _backbones(f"Shapes of large models, for costs alone: {len(shapes)}", shapes),
        Text(
            "`backbone: {config: ID, weights: random}` with `measure: [cost]`. All with --json, "
            "one with its id."
        ),
    )


def _backbones(title: str, rows: Sequence[Row], *more: Column) -> FittingTable:
    columns = [
        Column("id", [row["id"] for row in rows], justify="left"),
        Column("place", [row["place"] or "" for row in rows], justify="left"),
        *more,
        Column("runs", [_listed(row["tasks"]) for row in rows], justify="left", folds=True),
        Column("what it is", [row["summary"] for row in rows], justify="left", folds=True),
    ]
    return FittingTable(title, columns)


def backbone_page(row: Row) -> RenderableType:
    """One backbone, from its card and its configuration."""
    weights = {"weights": "random, drawn by the trial's seed; costs alone can be measured"}
    if row["kind"] == "reference":
        weights = {"seeds": _listed(row["seeds"]) or "none yet: paretoken backbones train"}
    return properties(
        {
            "backbone": row["id"],
            "what": row["about"],
            **weights,
            "class": row["class"] or "",
            "places": _listed(row["places"]),
            "architecture": row["architecture"],
            "runs": _listed(row["tasks"]),
            "card": row["card"],
            "yaml": row["yaml"],
        }
    )


def _parameters(rows: Sequence[Row]) -> FittingTable:
    columns = [
        Column("parameter", [row["name"] for row in rows], justify="left"),
        Column("default", [_default(row) for row in rows], justify="left"),
        Column("allowed", [row["allowed"] for row in rows], justify="left", folds=True),
        Column("meaning", [row["description"] for row in rows], justify="left", folds=True),
    ]
    return FittingTable("", columns)


def _default(row: Row) -> str:
    return "required" if row["required"] else str(row["default"])


def _metric(row: Row) -> str:
    return f"{row['metric']}{' (lower is better)' * (row['direction'] == 'minimize')}"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
