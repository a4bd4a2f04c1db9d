"""The frontier of a sweep as files: a PNG for reading, a page for exploring.

Matplotlib and Plotly are imported when a figure is written, not before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dashboards.rows import rows_of
from store.frontiers.frontier import Objectives
from store.records import Point


def write_figures(
    sweep_name: str, points: Sequence[Point], objectives: Mapping[str, Objectives], folder: Path
) -> list[Path]:
    """Write the figures that there is something for into ``folder`` and return their paths.

    ``frontier.png`` and ``frontier.html`` show quality against cost, ``costs.png`` the workloads
    whose quality was not measured. ``objectives`` gives each workload's metrics and directions in
    the order of the sweep file; the first minimised one is the horizontal axis. Each file appears
    complete or not at all. The page needs no network; where nothing but baselines finished without
    quality, or a workload minimises no cost, there is nothing to draw. Raises ValueError without
    points.
    """
    from dashboards import cost_picture, interactive, picture
    from dashboards.panels import panels

    if not points:
        raise ValueError(f"sweep {sweep_name!r} has no finished trial to draw")
    rows = rows_of(points, objectives)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    if drawn := panels(rows, objectives):
        written += [
            write_file(folder / "frontier.png", picture.png(sweep_name, drawn)),
            write_file(folder / "frontier.html", interactive.html(sweep_name, drawn).encode()),
        ]
    if costs := cost_picture.cost_panels([row for row in rows if not row.is_judged]):
        written.append(write_file(folder / "costs.png", cost_picture.png(sweep_name, costs)))
    return written


def write_file(path: Path, content: bytes) -> Path:
    """Put the file there complete or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
