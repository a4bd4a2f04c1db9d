"""The frontier as one page that explains every point when the pointer rests on it.

plotly.js is part of the page, so it opens from a disk without a network. Clicking a method in the
legend hides it, a double click shows it alone.
"""

from __future__ import annotations

import html as markup
from collections.abc import Mapping, Sequence
from typing import Any

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from dashboards.hover import amount, explain
from dashboards.panels import Panel, Series, position, sweep_labels
from dashboards.styles import GRID, INK, MUTED, PLAIN, TICKS, Dash, Look, dashes, looks

_PANEL_HEIGHT = 520
_HEADER_HEIGHT = 60
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 0 auto; max-width: 1200px; background: white; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""


def html(sweep_name: str, panels: Sequence[Panel]) -> str:
    """The figure as a page of its own that needs no network."""
    page = figure(sweep_name, panels).to_html(
        full_html=False,
        include_plotlyjs=True,
        div_id="frontier",
        config={"responsive": True, "displaylogo": False, "showSendToCloud": False},
    )
    return _PAGE.format(title=_title(sweep_name), figure=page)


def figure(sweep_name: str, panels: Sequence[Panel]) -> Any:
    """The same as a Plotly figure, for notebooks and other pages."""
    height = _PANEL_HEIGHT * len(panels) + _HEADER_HEIGHT
    drawn = make_subplots(
        rows=len(panels),
        cols=1,
        vertical_spacing=130 / height if len(panels) > 1 else 0,
        subplot_titles=[_panel_title(panel) for panel in panels],
    )
    drawn.update_annotations(x=0, xanchor="left", align="left", yshift=6)
    styles = looks(sweep_labels(panels))
    for number, panel in enumerate(panels, start=1):
        drawn.add_traces(_traces(panel, styles, number), rows=number, cols=1)
        _set_axes(drawn, panel, number)
    drawn.update_layout(
        title={"text": f"<b>{_title(sweep_name)}</b>", "x": 0.01, "font": {"size": 18}},
        height=height,
        template="plotly_white",
        hovermode="closest",
        font={"color": INK, "size": 13},
        margin={"t": 120, "l": 70, "r": 20, "b": 60},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"size": 12, "color": INK}},
        **_legends(drawn, len(panels)),
    )
    return drawn


def _title(sweep_name: str) -> str:
    return markup.escape(f"Sweep {sweep_name}: quality against cost, and the Pareto frontier")


def _panel_title(panel: Panel) -> str:
    subtitle = markup.escape(panel.subtitle)
    return f"<b>{markup.escape(panel.title)}</b><br><span style='font-size:12px'>{subtitle}</span>"


def _legend_id(number: int) -> str:
    return "legend" if number == 1 else f"legend{number}"


def _legends(figure: Any, count: int) -> dict[str, Any]:
    """One legend beside each panel."""
    axes = [figure.layout["yaxis" if n == 1 else f"yaxis{n}"] for n in range(1, count + 1)]
    return {
        _legend_id(n): {"y": axis.domain[1], "yanchor": "top", "x": 1.01, "font": {"size": 12}}
        for n, axis in enumerate(axes, start=1)
    }


def _traces(panel: Panel, styles: Mapping[str, Look], number: int) -> list[Any]:
    """What is listed later is drawn on top."""
    patterns = dashes(panel.schedules)
    legend = {"legend": _legend_id(number)}
    curves, dominated, best, keys = [], [], [], []
    for series in panel.series:
        look = styles.get(series.label, PLAIN)
        group = {**legend, "legendgroup": series.label}
        curves += [*_bands(series, look, group), *_curves(series, look, patterns, group)]
        dominated.append(_trials(series, panel, look, False, {"opacity": 0.5, **group}))
        best.append(_trials(series, panel, look, True, group))
        if series.curves:
            keys.append(_key(series, look, group))
    keys += _schedule_keys(patterns, legend)
    frontier = _staircase(panel, legend)
    return [*curves, *frontier, *dominated, *best, *_baseline(panel, legend), *keys]


def _bands(series: Series, look: Look, group: Mapping[str, str]) -> list[Any]:
    """Smallest to largest quality over seeds."""
    found = []
    for curve in series.curves:
        xs = [x for x, _ in curve.means]
        found.append(
            go.Scatter(
                x=xs + xs[::-1],
                y=[*curve.highs, *reversed(curve.lows)],
                mode="lines",
                fill="toself",
                fillcolor=look.colour,
                opacity=0.1,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                **group,
            )
        )
    return found


def _curves(
    series: Series, look: Look, patterns: Mapping[str, Dash], group: Mapping[str, str]
) -> list[Any]:
    """Mean over seeds."""
    return [
        go.Scatter(
            x=[x for x, _ in curve.means],
            y=[y for _, y in curve.means],
            mode="lines",
            line={"color": look.colour, "width": 1.2, "dash": patterns[curve.schedule].name},
            hoverinfo="skip",
            showlegend=False,
            **group,
        )
        for curve in series.curves
    ]


def _trials(
    series: Series, panel: Panel, look: Look, on_frontier: bool, group: Mapping[str, Any]
) -> Any:
    rows = [row for row in series.rows if row.on_frontier == on_frontier]
    where = [position(row.point, panel.cost) for row in rows]
    errors = [row.point.metrics["quality_se"] for row in rows]
    size, ring = (12, 1.5) if on_frontier else (6, 0)
    return go.Scatter(
        x=[x for x, _ in where],
        y=[y for _, y in where],
        mode="markers",
        error_y={"array": errors, "thickness": 1, "width": 0, "color": look.colour},
        marker=_marker(look.symbol, look.colour, size, ring),
        showlegend=False,
        text=[explain(row) for row in rows],
        hovertemplate="%{text}<extra></extra>",
        **group,
    )


def _marker(symbol: str, colour: str, size: int, ring: float) -> dict[str, Any]:
    return {"symbol": symbol, "color": colour, "size": size, "line": {"color": INK, "width": ring}}


def _key(series: Series, look: Look, group: Mapping[str, str]) -> Any:
    """The legend's entry, which looks the same whichever points there are."""
    name = markup.escape(series.label)
    marker = _marker(look.symbol, look.colour, 9, 0)
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, **group)


def _schedule_keys(patterns: Mapping[str, Dash], legend: Mapping[str, str]) -> list[Any]:
    if len(patterns) < 2:
        return []
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="lines",
            name=markup.escape(schedule),
            line={"color": INK, "width": 1.2, "dash": dash.name},
            legendrank=2000,
            **legend,
        )
        for schedule, dash in patterns.items()
    ]


def _staircase(panel: Panel, legend: Mapping[str, str]) -> list[Any]:
    if not panel.staircase:
        return []
    xs, ys = map(list, zip(*panel.staircase, strict=True))
    return [
        go.Scatter(
            x=[*xs, panel.largest_cost],
            y=[*ys, ys[-1]],
            mode="lines",
            name="Pareto frontier",
            line={"color": INK, "width": 2, "shape": "hv"},
            hoverinfo="skip",
            legendrank=1,
            **legend,
        )
    ]


def _baseline(panel: Panel, legend: Mapping[str, str]) -> list[Any]:
    if panel.baseline is None:
        return []
    x, y = panel.baseline
    return [
        go.Scatter(
            x=[x],
            y=[y],
            mode="markers",
            name="uncompressed",
            marker=_marker("star", "white", 17, 1.5),
            hovertemplate=f"uncompressed model, mean over seeds: {amount(y)}<extra></extra>",
            legendrank=2,
            **legend,
        )
    ]


def _set_axes(figure: Any, panel: Panel, number: int) -> None:
    where = {"row": number, "col": 1}
    figure.update_xaxes(
        title_text=markup.escape(panel.cost_label),
        gridcolor=GRID,
        tickformat="~%" if panel.is_fraction else "~s",
        **where,
    )
    if panel.is_wide:
        figure.update_xaxes(type="log", tickvals=TICKS, **where)
    figure.update_yaxes(
        title_text="quality",
        tickformat="~%" if panel.has_quality_shares else "~g",
        gridcolor=GRID,
        **where,
    )
    if panel.baseline:
        line = {"line_dash": "dot", "line_color": MUTED, "line_width": 1}
        figure.add_hline(panel.baseline[1], **line, **where)
