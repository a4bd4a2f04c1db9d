"""Small pieces that every page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dash import dcc, html

_GRAPH: Final = {
    "plotGlPixelRatio": 1,  # the default, 2, is four times the work
    "displaylogo": False,
    "scrollZoom": True,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "showSendToCloud": False,
}
NONE: Final = "\u2013"
"""In place of a value."""
Cell = Any
"""Text or a component."""


def graph(identity: str, height: int) -> dcc.Graph:
    """A figure of so many pixels, as wide as there is room."""
    return dcc.Graph(id=identity, config=_GRAPH, style={"height": f"{height}px"})


def labelled(text: str, control: Any, hint: str | None = None) -> html.Label:
    """A control with its words above it."""
    return html.Label([html.Span(text, className="label"), control], title=hint, className="field")


def chooser(identity: str, **properties: Any) -> dcc.Dropdown:
    """A drop-down list of which one entry is always chosen."""
    return dcc.Dropdown(id=identity, clearable=False, **properties)


def limit(identity: str, placeholder: str) -> dcc.Input:
    """A field for a number that may stay empty."""
    return dcc.Input(id=identity, type="number", step="any", placeholder=placeholder, debounce=0.3)


def table(head: Sequence[Cell], rows: Sequence[Sequence[Cell]], caption: str) -> html.Table:
    """A table that screen readers can name; numbers are set to the right by the style sheet."""
    return html.Table(
        [
            html.Caption(caption),
            html.Thead(html.Tr([html.Th(cell, scope="col") for cell in head])),
            html.Tbody([html.Tr([_cell(cell) for cell in row]) for row in rows]),
        ],
        className="table",
    )


def _cell(content: Cell) -> html.Td:
    numeric = isinstance(content, str) and content[:1] in "0123456789+-±" and content != ""
    return html.Td(content, className="number" if numeric else "text")


def note(text: str) -> html.P:
    """A sentence in place of what is not there, or beside what needs it."""
    return html.P(text, className="note")


def share(value: float | None) -> str:
    """A fraction as percent."""
    return NONE if value is None else f"{100 * value:.3g}%"


def number(value: float | None) -> str:
    """Any number in few digits."""
    return NONE if value is None else f"{value:.4g}"


def quality(value: float | None, direction: str) -> str:
    """What is maximised is a share, what is minimised has a unit."""
    return share(value) if direction == "maximize" else number(value)
