"""A table that leaves out its least important columns where the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Column:
    """A heading with one cell per row."""

    heading: str
    cells: Sequence[str]
    importance: int = 100
    """Columns below 100 may be left out, lowest first."""
    justify: Literal["left", "right"] = "right"
    folds: bool = False
    """Whether long cells may run over several lines."""


@dataclass(frozen=True, slots=True)
class FittingTable:
    """Columns side by side under a title; says below which of them did not fit."""

    title: str
    columns: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Leave out columns until the table fits, then draw it."""
        columns = [column for column in self.columns if any(column.cells)]
        left_out = []
        while droppable := [column for column in columns if column.importance < 100]:
            measured = _table(columns).__rich_measure__(console, options.update(max_width=10_000))
            if measured.maximum <= options.max_width:
                break
            least = min(droppable, key=lambda column: column.importance)
            columns.remove(least)
            left_out.append(least.heading)
        if self.title:
            yield Text(self.title, style="bold")
        yield _table(columns)
        if left_out:
            yield Text(f"Left out, too narrow: {', '.join(reversed(left_out))} (all with --json)")
        yield ""


def properties(lines: Mapping[str, str]) -> FittingTable:
    """One thing, a line for each of its properties; what is not known is left out."""
    known = {name: text for name, text in lines.items() if text}
    columns = [
        Column("", list(known), justify="left"),
        Column("", list(known.values()), justify="left", folds=True),
    ]
    return FittingTable("", columns)


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for column in columns:
        overflow: Literal["fold", "ellipsis"] = "fold" if column.folds else "ellipsis"
        table.add_column(
            Text(column.heading),
            justify=column.justify,
            no_wrap=not column.folds,
            overflow=overflow,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table
