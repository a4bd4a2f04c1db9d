"""A report as PDF.

By fpdf2, which is pure Python: other ways to PDF need Pango, a browser or TeX on the machine. The
fonts are those that Matplotlib brings, so that every letter of a name is there.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import matplotlib
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from dashboards.report.document import (
    Block,
    Chart,
    Document,
    Facts,
    Grid,
    Listing,
    Prose,
    References,
)
from dashboards.styles import MUTED

_TEXT, _TABLE, _CODE = 9.0, 7.0, 7.0
"""Points."""
_SANS, _MONO = "DejaVu Sans", "DejaVu Sans Mono"
_FILES: Final = {
    (_SANS, ""): "DejaVuSans.ttf",
    (_SANS, "B"): "DejaVuSans-Bold.ttf",
    (_MONO, ""): "DejaVuSansMono.ttf",
}
_CHART_MM: Final = 180
_LETTER_MM: Final = 1.7
"""A letter of a table with what is between columns."""
_ROOM_MM: Final = 125
"""What a heading needs below it: a chart, or the beginning of a table."""


def pdf(document: Document) -> bytes:
    """A4 across, as wide as the tables are."""
    page = _Page(document.title)
    page.heading(document.title, 18)
    page.words(document.subtitle, 11)
    for section in document.sections:
        page.section(section.title, any(isinstance(block, Chart) for block in section.blocks))
        for block in section.blocks:
            _draw(page, block)
    return bytes(page.output())


class _Page(FPDF):
    def __init__(self, title: str) -> None:
        super().__init__(orientation="landscape", format="A4")
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for (family, style), name in _FILES.items():
            self.add_font(family, style, fonts / name)
        self.set_title(title)
        self.set_auto_page_break(auto=True, margin=14)
        self.set_margin(14)
        self.add_page()

    def footer(self) -> None:
        """Number of the page."""
        self.set_y(-10)
        self.set_font(_SANS, "", 7)
        self.cell(0, 5, f"{self.title} · {self.page_no()}", align="R")

    def section(self, title: str, has_chart: bool) -> None:
        """A heading that is in the outline as well, on the page of what is below it."""
        self.ln(4)
        if self.will_page_break(_ROOM_MM if has_chart else _ROOM_MM / 4):
            self.add_page()
        self.start_section(title)
        self.heading(title, 13)

    def heading(self, text: str, size: float) -> None:
        """A line in bold."""
        self.set_font(_SANS, "B", size)
        self.multi_cell(0, size * 0.55, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1)

    def words(self, text: str, size: float = _TEXT) -> None:
        """A paragraph."""
        self.set_font(_SANS, "", size)
        self.multi_cell(0, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.ln(1.5)

    def code(self, text: str) -> None:
        """Lines as they are."""
        self.set_font(_MONO, "", _CODE)
        self.multi_cell(0, _CODE * 0.47, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.ln(2)


def _draw(page: _Page, block: Block) -> None:
    match block:
        case Prose():
            for paragraph in block.paragraphs:
                page.words(paragraph, 8)
        case Facts():
            page.words("\n".join(f"{name}: {value}" for name, value in block.facts.items()))
        case Grid():
            _grid(page, block)
        case Chart():
            page.image(io.BytesIO(block.png), w=_CHART_MM, alt_text=block.caption)
        case Listing():
            page.heading(block.caption, 9)
            page.code(block.text)
        case References():
            for paper in block.papers:
                about = ", ".join(filter(None, (paper.title, paper.year, paper.address)))
                page.words(f"{paper.cite} {about}", 8)


def _grid(page: _Page, block: Grid) -> None:
    page.ln(1)
    page.heading(block.caption, 9)
    page.set_font(_SANS, "", _TABLE)
    with page.table(
        width=min(page.epw, _LETTER_MM * sum(block.widths)),
        col_widths=block.widths,
        text_align=["RIGHT" if letter == "r" else "LEFT" for letter in block.align],
        borders_layout=TableBordersLayout.SINGLE_TOP_LINE,
        headings_style=FontFace(emphasis="BOLD", color=MUTED),
        line_height=3.6,
        padding=(0.4, 1.2),
        align="LEFT",
    ) as table:
        for cells in (block.headings, *block.rows):
            row = table.row()
            for cell in cells:
                row.cell(str(cell))
    page.ln(3)
