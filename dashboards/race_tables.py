"""Tables of a race: what it saved, and each configuration's place with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable

_LEGEND = (
    "examples: of every seed that were evaluated before the place was settled; p: probability of "
    "being on the frontier when it was."
)


def race_tables(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One table per workload, those that ran longest first, and what all saved."""
    return Group(*(_workload_table(row) for row in rows), Text(_LEGEND), Text(saving(rows)))


def saving(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the races cost, in one sentence."""
    evaluated, exhaustive = (sum(row[key] for row in rows) for key in ("evaluated", "exhaustive"))
    places = [place for row in rows for place in row["configurations"]]
    stopped = sum(place["reason"].startswith("stopped") for place in places)
    share = evaluated / exhaustive if exhaustive else 0.0
    return (
        f"{stopped:,} of {len(places):,} configurations stopped early; {evaluated:,} of "
        f"{exhaustive:,} example evaluations ({share:.0%})"
    )


def _workload_table(row: Mapping[str, Any]) -> FittingTable:
    places = row["configurations"]
    rungs = ", ".join(map(str, row["rungs"]))
    waits = f"; {row['waiting']:,} trials to be measured" if row["waiting"] else ""
    title = f"{row['workload']}: rungs of {rungs} examples, {row['share']:.0%} evaluated{waits}"
    return FittingTable(
        title,
        [
            Column("method", [place["method"] for place in places], justify="left"),
            Column("keep", [place["keep_label"] for place in places]),
            Column("schedule", [place["schedule"] for place in places], 60, "left"),
            Column("examples", [str(place["examples"]) for place in places]),
            Column("p", [f"{place['probability']:.2f}" for place in places], 90),
            Column("place", [place["reason"] for place in places], justify="left", folds=True),
        ],
    )
