"""The table of ``paretoken jobs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from dashboards.progress import duration


def jobs_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line per job."""
    if not rows:
        return Text("No jobs yet: paretoken submit FILE")
    return FittingTable(
        "Jobs",
        [
            Column("job", [row["id"] for row in rows], justify="left", folds=True),
            Column("sweep", [row["sweep"] for row in rows], 50, "left"),
            Column("status", [row["status"].lower() for row in rows], 90, "left"),
            Column("started (UTC)", [_minute(row["started_at"]) for row in rows], 70, "left"),
            Column("took", [_took(row["seconds"]) for row in rows], 60),
        ],
    )


def _minute(seconds: float | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds else ""


def _took(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
