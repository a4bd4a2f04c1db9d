"""What a report is made of, before anyone decides how it looks.

Every format draws the same blocks, so that a page, a PDF and LaTeX tables say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.fitting import FittingTable

_LINE = 46
"""Characters above which a cell is a sentence."""


@dataclass(frozen=True, slots=True)
class Cite:
    """A paper in a table's cell."""

    key: str
    number: int

    def __str__(self) -> str:
        return f"[{self.number}]"


Cell = str | Cite


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs."""

    paragraphs: Sequence[str]
    kind: Literal["prose"] = "prose"


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what they stand for."""

    facts: Mapping[str, str]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; ``align`` has one of ``l`` and ``r`` for every column."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    align: str
    kind: Literal["grid"] = "grid"

    @property
    def widths(self) -> list[int]:
        """Characters that every column asks for; sentences take several lines."""
        rows = [self.headings, *self.rows]
        longest = [max(len(str(row[i])) for row in rows) for i in range(len(self.headings))]
        return [min(max(each, 3) + 2, _LINE) for each in longest]

    @property
    def folds(self) -> list[bool]:
        """Whether a column holds sentences."""
        return [width == _LINE for width in self.widths]

    @property
    def columns(self) -> str:
        """LaTeX's column types: those with sentences are paragraphs."""
        share = 0.9 / max(1, sum(self.folds))
        paragraph = f"p{{{min(share, 0.45):.2f}\\linewidth}}"
        typed = zip(self.align, self.folds, strict=True)
        return "".join(paragraph if folds else letter for letter, folds in typed)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure that says what it shows; ``caption`` is for those who do not see it."""

    caption: str
    drawn: Callable[[Literal["png", "svg"]], bytes]
    kind: Literal["chart"] = "chart"

    @property
    def svg(self) -> bytes:
        """As vectors."""
        return self.drawn("svg")

    @property
    def png(self) -> bytes:
        """As pixels."""
        return self.drawn("png")


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines to copy; long ones may be folded away."""

    caption: str
    text: str
    language: str
    kind: Literal["listing"] = "listing"


@dataclass(frozen=True, slots=True)
class References:
    """Papers in the order in which they are cited."""

    papers: Sequence[Reference]
    kind: Literal["references"] = "references"


@dataclass(frozen=True, slots=True)
class Reference:
    """A paper and the methods that it describes."""

    cite: Cite
    title: str
    address: str | None
    year: str | None
    methods: Sequence[str]
    bibtex: str


Block = Prose | Facts | Grid | Chart | Listing | References


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    @property
    def bibtex(self) -> str:
        """Entries of all papers."""
        blocks = (block for section in self.sections for block in section.blocks)
        papers = (p for block in blocks if isinstance(block, References) for p in block.papers)
        return "\n\n".join(paper.bibtex for paper in papers)


def grid(table: FittingTable) -> Grid:
    """A table of the terminal with all its columns but the empty ones."""
    columns = [column for column in table.columns if any(column.cells)]
    return Grid(
        table.title,
        [column.heading for column in columns],
        list(zip(*(column.cells for column in columns), strict=True)),
        "".join(column.justify[0] for column in columns),
    )
