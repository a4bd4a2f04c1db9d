"""The table of ``paretoken size``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from dashboards.fitting import Column, FittingTable
from dashboards.words import decimals, size
from methods.naming import short


def sizes_table(rows: Sequence[Mapping[str, Any]], per_second: float) -> RenderableType:
    """One line per point."""
    return FittingTable(
        f"Replicas for {per_second:g} requests per second, if one point answers all of them",
        [
            Column("workload", [row["workload"] for row in rows], 60, "left"),
            Column("method", [row["method"] for row in rows], justify="left", folds=True),
            Column("keep", [f"{row['keep_ratio']:g}" for row in rows]),
            Column("quality", [decimals(row["quality"]) for row in rows]),
            Column("ms", [_number(row["seconds"], 1000) for row in rows]),
            Column("per replica", [_number(row["per_replica"]) for row in rows]),
            Column("replicas", ["?" if (n := row["replicas"]) is None else str(n) for row in rows]),
            Column("memory each", [size(row["bytes"]) or "simulated" for row in rows], 80),
            Column("trial", [short(row["trial"]) for row in rows], 50, "left"),
        ],
    )


def _number(value: float | None, factor: float = 1) -> str:
    return "not timed" if value is None else f"{factor * value:.3g}"
