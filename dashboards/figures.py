"""The frontier of a sweep as files: a PNG for reading, a page for exploring.

Matplotlib and Plotly are imported when a figure is written, not before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dashboards.rows import rows_of
from store.frontier import Objectives
from store.records import Point


def write_figures(
    sweep_name: str, points: Sequence[Point], objectives: Mapping[str, Objectives], folder: Path
) -> list[Path]:
    """Write ``frontier.png`` and ``frontier.html`` into ``folder`` and return their paths.

    ``objectives`` gives each workload's metrics and directions in the order of the sweep file; the
    first minimised one is the horizontal axis. Each file appears complete or not at all. The page
    needs no network. Raises ValueError where there is nothing to draw or a workload minimises
    nothing.
    """
    from dashboards import interactive, picture
    from dashboards.panels import panels

    drawn = panels(rows_of(points, objectives), objectives)
    if not drawn:
        raise ValueError(f"sweep {sweep_name!r} has no finished trial to draw")
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write(folder / "frontier.png", picture.png(sweep_name, drawn)),
        _write(folder / "frontier.html", interactive.html(sweep_name, drawn).encode()),
    ]


def _write(path: Path, content: bytes) -> Path:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
