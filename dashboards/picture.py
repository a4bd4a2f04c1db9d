"""The frontier as PNG or SVG, drawn for a page 800 pixels wide."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dashboards.panels import Panel, Series, position, sweep_labels
from dashboards.rows import Row
from dashboards.styles import GRID, INK, MUTED, PLAIN, TICKS, Dash, Look, dashes, looks

_WIDTH, _PANEL_HEIGHT, _KEY_HEIGHT = 8.0, 4.2, 0.195
"""Inches, the last of a line in the legend; at 200 dots per inch sharp at 800 CSS pixels."""
_DOTS = 500
"""Dominated trials of one series that are drawn one by one into vector figures."""


def png(sweep_name: str, panels: Sequence[Panel]) -> bytes:
    """All panels below each other, under a title."""
    figure = _figure(panels, 0.4)
    title = f"Sweep {sweep_name}: quality against cost, and the Pareto frontier"
    figure.suptitle(title, x=0.01, ha="left", size=13, weight="bold", color=INK, parse_math=False)
    return saved(figure, "png")


def chart(panel: Panel, kind: Literal["png", "svg"]) -> bytes:
    """One panel for a text that says the rest."""
    return saved(_figure([panel], 0.0), kind)


def saved(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The figure as a file; equal figures give equal bytes. Words stay words in vectors."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "paretoken"}):
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def _figure(panels: Sequence[Panel], head: float) -> Figure:
    """``head`` is inches for a title."""
    heights = [max(_PANEL_HEIGHT, _KEY_HEIGHT * (len(each.compared) + 5)) for each in panels]
    figure = Figure(
        figsize=(_WIDTH, sum(heights) + head), layout=ConstrainedLayoutEngine(hspace=0.06)
    )
    FigureCanvasAgg(figure)
    styles = looks(sweep_labels(panels))
    rows_of_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, panel in zip(rows_of_axes[:, 0], panels, strict=True):
        _draw(axes, panel, styles)
    return figure


def _draw(axes: Axes, panel: Panel, styles: Mapping[str, Look]) -> None:
    patterns = dashes(panel.schedules)
    for series in panel.series:
        look = styles.get(series.label, PLAIN)
        _draw_curves(axes, series, look, patterns)
        _draw_trials(axes, series, panel.cost, look)
    _draw_baseline(axes, panel)
    _draw_staircase(axes, panel)
    _label_axes(axes, panel)
    _scale_axes(axes, panel)
    _add_legend(axes, panel, styles, patterns)


def _draw_curves(axes: Axes, series: Series, look: Look, patterns: Mapping[str, Dash]) -> None:
    for curve in series.curves:
        xs, ys = zip(*curve.means, strict=True)
        style = (0, patterns[curve.schedule].pattern or None)
        axes.plot(xs, ys, color=look.colour, linestyle=style, linewidth=1.0, alpha=0.75, zorder=2)


def _draw_trials(axes: Axes, series: Series, cost: str, look: Look) -> None:
    dominated = [row for row in series.rows if not row.on_frontier]
    best = [row for row in series.rows if row.on_frontier]
    many = len(dominated) > _DOTS  # as pixels even among vectors
    faint = {"ms": 4.2, "mew": 0, "elinewidth": 0.7, "alpha": 0.5, "zorder": 3, "rasterized": many}
    strong = {"ms": 7.5, "mew": 1.1, "mec": INK, "elinewidth": 1.2, "zorder": 6}
    _draw_points(axes, dominated, cost, color=look.colour, fmt=look.marker, **faint)
    _draw_points(axes, best, cost, color=look.colour, fmt=look.marker, **strong)


def _draw_points(axes: Axes, rows: Sequence[Row], cost: str, **style: Any) -> None:
    if rows:
        xs, ys = zip(*(position(row.point, cost) for row in rows), strict=True)
        errors = [row.point.metrics["quality_se"] or 0.0 for row in rows]
        axes.errorbar(xs, ys, yerr=errors, **style)


def _draw_baseline(axes: Axes, panel: Panel) -> None:
    if panel.baseline:
        x, y = panel.baseline
        axes.axhline(y, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        axes.plot([x], [y], marker="*", ms=15, color="white", mec=INK, mew=1.2, zorder=7)


def _draw_staircase(axes: Axes, panel: Panel) -> None:
    if panel.staircase:
        xs, ys = map(list, zip(*panel.staircase, strict=True))
        xs, ys = [*xs, panel.largest_cost], [*ys, ys[-1]]
        axes.step(xs, ys, where="post", color=INK, linewidth=1.6, zorder=5)


def _label_axes(axes: Axes, panel: Panel) -> None:
    axes.set_title(
        f"{panel.title}\n", loc="left", size=11, weight="bold", color=INK, parse_math=False
    )
    axes.annotate(
        panel.subtitle,
        (0, 1),
        (0, 5),
        "axes fraction",
        "offset points",
        size=8.5,
        color=MUTED,
        parse_math=False,
    )
    axes.set_xlabel(panel.cost_label, size=10, color=INK, parse_math=False)
    axes.set_ylabel("quality (bars: ± 1 standard error)", size=10, color=INK)
    axes.tick_params(labelsize=9.5, colors=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _scale_axes(axes: Axes, panel: Panel) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(_percent if panel.has_quality_shares else _short))
    if panel.is_wide:
        axes.set_xscale("log")
        left, right = panel.smallest_cost / 1.12, panel.largest_cost * 1.12
        axes.set_xlim(left, right)
        axes.xaxis.set_major_locator(FixedLocator([t for t in TICKS if left <= t <= right]))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_percent if panel.is_fraction else _short))


def _percent(value: float, _tick: int | None = None) -> str:
    return f"{100 * value:g}%"


def _short(value: float, _tick: int | None = None) -> str:
    return f"{value:g}"


def _add_legend(
    axes: Axes, panel: Panel, styles: Mapping[str, Look], patterns: Mapping[str, Dash]
) -> None:
    handles = [
        Line2D([], [], color=INK, lw=1.6, marker="o", ms=7, mfc="white", label="Pareto frontier"),
        *_baseline_key(panel),
        *(_method_key(series.label, styles[series.label]) for series in panel.compared),
        *_schedule_keys(patterns),
    ]
    legend = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.02),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=2.2,
        labelspacing=0.4,
        borderaxespad=0.3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _baseline_key(panel: Panel) -> list[Line2D]:
    if panel.baseline is None:
        return []
    return [
        Line2D(
            [],
            [],
            color=MUTED,
            lw=0.9,
            ls=(0, (1, 2)),
            marker="*",
            ms=11,
            mfc="white",
            mec=INK,
            label="uncompressed",
        )
    ]


def _method_key(label: str, look: Look) -> Line2D:
    return Line2D([], [], color=look.colour, lw=1.0, marker=look.marker, ms=6, label=label)


def _schedule_keys(patterns: Mapping[str, Dash]) -> list[Line2D]:
    if len(patterns) < 2:
        return []
    return [
        Line2D([], [], color=INK, lw=1.0, ls=(0, dash.pattern or None), label=name)
        for name, dash in patterns.items()
    ]
