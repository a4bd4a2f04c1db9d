"""Colours and shapes that stay apart for every eye.

The colours are those of Okabe and Ito (2008) and Tol (2021) for colour-vision deficiency that show
on white. Colours and shapes repeat with different periods, so 90 series look different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INK = "#1a1a1a"
MUTED = "#4d4d4d"
GRID = "#e3e3e3"
TICKS = tuple(step * 10.0**power for power in range(-4, 13) for step in (1, 1.5, 2, 3, 5, 7))
"""Round numbers for logarithmic axes."""

_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#C2569B",
    "#E69F00",
    "#332288",
    "#56B4E9",
    "#882255",
    "#8A8A1F",
    "#6B6B6B",
)
_SHAPES = (
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("D", "diamond"),
    ("v", "triangle-down"),
    ("P", "cross"),
    ("X", "x"),
    ("p", "pentagon"),
    ("h", "hexagon"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is drawn, in matplotlib's and in Plotly's words."""

    colour: str
    marker: str
    symbol: str


PLAIN = Look(MUTED, "o", "circle")
"""The uncompressed model: part of every comparison, not one of the compared."""


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for every label; any ten neighbours differ in colour."""
    return {
        label: Look(_COLOURS[i % len(_COLOURS)], *_SHAPES[i % len(_SHAPES)])
        for i, label in enumerate(labels)
    }


@dataclass(frozen=True, slots=True)
class Dash:
    """How the lines of one schedule are drawn; ``pattern`` is on and off, in line widths."""

    pattern: tuple[float, ...]
    name: str


_DASHES = (
    Dash((), "solid"),
    Dash((4, 2), "dash"),
    Dash((1, 1.5), "dot"),
    Dash((5, 2, 1, 2), "dashdot"),
)


def dashes(schedules: Sequence[str]) -> dict[str, Dash]:
    """A line pattern for every schedule."""
    return {name: _DASHES[i % len(_DASHES)] for i, name in enumerate(schedules)}
