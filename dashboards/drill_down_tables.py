"""Examples that compression breaks and repairs, for the terminal.

Made from the rows of :func:`store.questions.answers.ask`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType

from dashboards.fitting import Column, FittingTable
from dashboards.question_parts import SHOWN, Row, basis, configurations, name, pages
from dashboards.words import decimals
from methods.naming import settings, short

_LEGEND: Final = (
    "breaks: worse than the uncompressed model on the same example and seed by the margin; "
    "repairs: better by as much."
)


def breaks_tables(rows: Sequence[Row]) -> RenderableType:
    """Breaks and repairs of every configuration, and what all methods break."""
    return pages(rows, _breaks_page, _LEGEND)


def changed_tables(rows: Sequence[Row]) -> RenderableType:
    """Examples that one configuration breaks and repairs."""
    return pages(rows, _changed_page, _LEGEND)


def _breaks_page(row: Row) -> list[RenderableType]:
    tallies = sorted(row["tallies"], key=lambda each: -each["breaks"])
    compared = [each["configuration"] for each in tallies]
    columns = [
        *configurations(compared, row),
        Column("difference", [f"{each['difference']:+.3f}" for each in tallies]),
        Column("breaks", [_part(each, "breaks") for each in tallies]),
        Column("repairs", [_part(each, "repairs") for each in tallies]),
        Column("trial", [short(each["trials"][0]) for each in compared], 60, "left"),
    ]
    title = f"{row['workload']}: margin {row['margin']:.3g} ({basis(row)})"
    return [FittingTable(title, columns), *_hardest(row)]


def _hardest(row: Row) -> list[RenderableType]:
    hardest = row["hardest"]
    columns = [
        Column("keep", [f"{hard['keep_ratio']:g}" for hard in hardest]),
        Column("configurations", [str(hard["configurations"]) for hard in hardest]),
        Column("examples", [str(len(hard["lost"])) for hard in hardest]),
        Column("", [_listed(hard["lost"]) for hard in hardest], justify="left", folds=True),
    ]
    title = f"{row['workload']}: broken by every configuration at a keep ratio"
    return [FittingTable(title, columns), *_inputs(row)] if hardest else []


def _changed_page(row: Row) -> list[RenderableType]:
    changed = row["examples_changed"]
    texts = row.get("inputs", {})
    columns = [
        Column("example", [str(each["example"]) for each in changed]),
        Column("", [each["change"] for each in changed], justify="left"),
        Column("seeds", [", ".join(map(str, each["seeds"])) for each in changed], 80, "left"),
        Column("baseline", [decimals(each["baseline"]) for each in changed]),
        Column("outcome", [decimals(each["outcome"]) for each in changed]),
        Column("inputs", [_inline(texts.get(each["example"])) for each in changed], folds=True),
    ]
    broken = sum(each["change"] == "breaks" for each in changed)
    title = (
        f"{row['workload']}: {name(row['configuration'])} breaks {broken} examples and repairs "
        f"{len(changed) - broken}; margin {row['margin']:.3g} ({basis(row)})"
    )
    return [FittingTable(title, columns)]


def _inputs(row: Row) -> list[RenderableType]:
    texts = row.get("inputs", {})
    columns = [
        Column("example", [str(example) for example in texts]),
        Column("inputs", [_inline(each) for each in texts.values()], justify="left", folds=True),
    ]
    return [FittingTable("Their inputs", columns)] if texts else []


def _part(tally: Row, change: str) -> str:
    share = tally[change] / tally["compared"] if tally["compared"] else 0.0
    return f"{tally[change]} ({share:.0%})"


def _listed(examples: Sequence[int]) -> str:
    more = len(examples) - SHOWN
    return ", ".join(map(str, examples[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _inline(inputs: Row | None) -> str:
    return "" if inputs is None else settings(inputs)
