"""Costs against what was kept, as PNG or SVG, for workloads whose quality was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dashboards.panels import XY
from dashboards.picture import saved
from dashboards.rows import Row, by_workload, variant_labels
from dashboards.styles import GRID, INK, MUTED, Look, looks
from sweeps.metrics import METRICS
from sweeps.trial import BASELINE

DRAWN = ("flops", "kv", "peak_memory", "latency")
"""Costs side by side, where there are numbers; all are fractions of the uncompressed model's."""
_WIDTH, _HEIGHT = 8.0, 2.6
"""Inches of a workload's row of panels."""


@dataclass(frozen=True, slots=True)
class CostPanel:
    """One cost of one workload: mean over seeds of each method, by rising share of tokens."""

    workload: str
    cost: str
    curves: Mapping[str, tuple[XY, ...]]


def cost_panels(rows: Sequence[Row]) -> list[CostPanel]:
    """A panel for each cost that compression changes, workload by workload."""
    return [panel for members in by_workload(rows).values() for panel in _panels(members)]


def png(sweep_name: str, panels: Sequence[CostPanel]) -> bytes:
    """Workloads below each other, their costs side by side, under a title."""
    title = f"Sweep {sweep_name}: costs left, against tokens left"
    return saved(_figure(panels, title), "png")


def chart(panels: Sequence[CostPanel], kind: Literal["png", "svg"]) -> bytes:
    """The same for a text that says the rest."""
    return saved(_figure(panels, "Costs left, against tokens left"), kind)


def _figure(panels: Sequence[CostPanel], title: str) -> Figure:
    workloads = list(dict.fromkeys(panel.workload for panel in panels))
    across = max(sum(panel.workload == name for panel in panels) for name in workloads)
    figure = Figure(
        figsize=(_WIDTH, _HEIGHT * len(workloads) + 0.4),
        layout=ConstrainedLayoutEngine(hspace=0.08),
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", size=12, weight="bold", color=INK, parse_math=False)
    styles = looks(list(dict.fromkeys(label for panel in panels for label in panel.curves)))
    grid = figure.subplots(len(workloads), across, squeeze=False)
    for name, line in zip(workloads, grid, strict=True):
        own = [panel for panel in panels if panel.workload == name]
        for axes in line[len(own) :]:
            axes.set_axis_off()
        for axes, panel in zip(line, own, strict=False):
            _draw(axes, panel, styles)
        line[0].set_title(name, loc="left", size=10, weight="bold", color=INK, parse_math=False)
    _add_legend(figure, styles)
    return figure


def _panels(rows: list[Row]) -> Iterator[CostPanel]:
    labels = variant_labels(row.point for row in rows)
    groups = {id(row.group): row.group for row in rows}.values()
    for cost in DRAWN:
        curves: dict[str, list[XY]] = {}
        for group in groups:
            x, y = group.spread["tokens"], group.spread[cost]
            if group.method != BASELINE and x and y:
                label = labels[group.method, group.hyperparameters_json]
                curves.setdefault(label, []).append((x.mean, y.mean))
        if any(y != 1.0 for curve in curves.values() for _, y in curve):
            yield CostPanel(
                rows[0].point.workload,
                cost,
                {label: tuple(sorted([*curve, (1.0, 1.0)])) for label, curve in curves.items()},
            )


def _draw(axes: Axes, panel: CostPanel, styles: Mapping[str, Look]) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    for label, curve in panel.curves.items():
        xs, ys = zip(*curve, strict=True)
        look = styles[label]
        axes.plot(xs, ys, color=look.colour, marker=look.marker, ms=5, linewidth=1.2, zorder=3)
    axes.set_xlabel("tokens left", size=9, color=INK)
    axes.set_ylabel(METRICS[panel.cost].words, size=9, color=INK)
    axes.set_xlim(0, 1.04)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(figure: Figure, styles: Mapping[str, Look]) -> None:
    as_tokens = Line2D([], [], color=MUTED, lw=0.9, ls=(0, (1, 2)), label="as the tokens")
    methods = [
        Line2D([], [], color=look.colour, marker=look.marker, ms=5, lw=1.2, label=label)
        for label, look in styles.items()
    ]
    legend = figure.legend(
        handles=[as_tokens, *methods], loc="outside right upper", frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
