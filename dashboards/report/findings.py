"""What a sweep found, workload by workload: figure, frontier, ranking, and what to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dashboards import cost_picture, picture
from dashboards.cost_tables import COSTS_LEGEND, costs_table
from dashboards.fitting import FittingTable
from dashboards.panels import panels
from dashboards.question_parts import basis, labels
from dashboards.question_tables import (
    FRONTIER_LEGEND,
    RANK_LEGEND,
    frontier_table,
    rank_table,
)
from dashboards.report.document import Block, Chart, Grid, Prose, Section, grid
from dashboards.report.evidence import TOLERATED, Evidence
from dashboards.rows import Row
from dashboards.words import decimals
from sweeps.trial import BASELINE


def recommended(evidence: Evidence) -> Grid:
    """For each workload its cheapest configuration that costs next to no quality."""
    rows = [_choice(row) for row in evidence.cheapest.values() if row["chosen"]]
    return Grid(
        f"The cheapest configuration that loses at most {TOLERATED} of the uncompressed model's "
        "quality, with 95 % confidence over examples",
        ("workload", "method", "keep", "schedule", "quality", "cost", "left of it", "sure"),
        rows,
        "llrlrlrr",
    )


def _choice(row: Mapping[str, Any]) -> list[str]:
    chosen = row["chosen"]
    left = chosen["metrics"][row["of"]]
    compresses = chosen["method"] != BASELINE
    return [
        row["workload"],
        *(labels([chosen]) if compresses else ["none, so the uncompressed model"]),
        chosen["keep_label"],
        chosen["schedule"],
        decimals(chosen["quality"]),
        row["of"],
        f"{left:.1%}" if left <= 10 else f"{left:,.0f}",
        "" if row["sure"] is None else f"{row['sure']:.1%}",
    ]


def workload(evidence: Evidence, name: str) -> Section:
    """Everything about one workload."""
    rows = evidence.of(name)
    judged = [row for row in rows if row.is_judged]
    parts = _judged(evidence, name, judged) if judged else _costs(name, rows)
    return Section(f"Workload {name}", list(parts))


def _judged(evidence: Evidence, name: str, rows: Sequence[Row]) -> Iterator[Block]:
    for panel in panels(rows, evidence.objectives):
        yield Chart(f"{panel.title}. {panel.subtitle}.", partial(picture.chart, panel))
    if (frontier := evidence.frontiers.get(name)) is not None:
        yield from _tables(frontier_table(frontier))
        yield Prose([FRONTIER_LEGEND, *_notes(frontier)])
    if (ranking := evidence.rankings.get(name)) is not None and ranking["methods"]:
        yield from _tables(rank_table(ranking))
        yield Prose([RANK_LEGEND])
    chosen = evidence.cheapest.get(name)
    if chosen is not None and chosen["chosen"] is None:
        yield Prose([_none_tolerable(chosen)])


def _costs(name: str, rows: Sequence[Row]) -> Iterator[Block]:
    if drawn := cost_picture.cost_panels(rows):
        caption = f"{name}: costs left, against the share of tokens left."
        yield Chart(caption, partial(cost_picture.chart, drawn))
    yield grid(costs_table(name, rows))
    yield Prose([COSTS_LEGEND])


def _tables(parts: Sequence[Any]) -> Iterator[Block]:
    for part in parts:
        if isinstance(part, FittingTable):
            yield grid(part)
        elif part.plain:
            yield Prose([part.plain])


def _notes(row: Mapping[str, Any]) -> list[str]:
    return [f"Note: {note}." for note in row["notes"]]


def _none_tolerable(row: Mapping[str, Any]) -> str:
    least = (
        ""
        if row["provable"] is None
        else (f"; the smallest loss that so few can rule out is {row['provable']:.3f}")
    )
    return (
        f"No compressed configuration is shown to lose at most {TOLERATED} of the quality with "
        f"{basis(row)}{least}."
    )
