"""Quality against any measured cost: who is on the frontier, how surely, what a budget buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.app.configurations import Configurations, glyph_of
from dashboards.app.parts import (
    chooser,
    graph,
    labelled,
    limit,
    note,
    quality,
    share,
    table,
)
from dashboards.app.shelf import Shelf
from dashboards.app.shell import words_of
from sweeps.metrics import QUALITY

_LISTED: Final = 40
"""Rows of the table below the figure."""
_LEGEND: Final = (
    "The more opaque, the likelier on the frontier; ringed: on it by the means; hollow: on none, "
    "because the saving is simulated or was timed while other trials ran. Line: the best at each "
    "cost. ☆ and dots: the uncompressed model. Bars: 95 % intervals over examples."
)


class FrontierPage:
    """The figure with its controls, and what is on the frontier as a table."""

    title: ClassVar[str] = "Frontier"

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def layout(self) -> html.Div:
        """The page; the browser fills the figure."""
        controls = [
            labelled("Cost (across)", chooser("x")),
            labelled("Quality (up)", chooser("y")),
            labelled("Cost at most", limit("largest", "e.g. 0.4")),
            labelled("Quality at least", limit("smallest", "e.g. 0.9")),
            dcc.Checklist(
                id="frontier-options",
                options=[{"label": "error bars", "value": "bars"}],
                value=["bars"],
                className="ticks inline",
            ),
        ]
        return html.Div(
            [
                html.Div(
                    [
                        html.Div(controls, className="controls"),
                        html.P(id="verdict", role="status"),
                        graph("frontier", 440),
                        html.P(_LEGEND, className="legend"),
                        html.Div(id="frontier-table"),
                    ],
                    className="middle",
                ),
                html.Section(id="panel", **{"aria-label": "The chosen configuration"}),
            ],
            className="columns",
        )

    def register(self, app: Dash) -> None:
        """Connect the page's controls."""
        app.callback(
            Output("x", "options"),
            Output("x", "value"),
            Output("y", "options"),
            Output("y", "value"),
            Input("columns-key", "data"),
            State("sweep", "value"),
            State("workload", "value"),
            State("x", "value"),
            State("y", "value"),
        )(self.axes)
        _connect_figure(app)
        app.callback(
            Output("frontier-table", "children"),
            Input("columns-key", "data"),
            Input("odds-key", "data"),
            State("sweep", "value"),
            State("workload", "value"),
        )(self.listed)
        app.callback(
            Output("point", "data", allow_duplicate=True),
            Input({"type": "choose", "trial": ALL}, "n_clicks"),
            prevent_initial_call=True,
        )(self.choose)

    def axes(
        self, key: str | None, sweep: str, workload: str, x: str | None, y: str | None
    ) -> tuple[Any, ...]:
        """Metrics to choose from; what was chosen stays where the workload has it."""
        if key is None:
            return [], None, [], None
        found = self._shelf.configurations(sweep, workload)
        costs = {name: words for name, words in found.axes.items() if name != QUALITY}
        first = found.cost if found.cost in costs else next(iter(costs))
        other = QUALITY if QUALITY in found.axes else next(iter(costs))
        return (
            words_of(costs),
            x if x in costs else first,
            words_of(found.axes),
            y if y in found.axes else other,
        )

    def listed(self, key: str | None, odds_key: str | None, sweep: str, workload: str) -> Any:
        """Configurations on the frontier by their means, the best first."""
        if key is None:
            return note("No trial of this workload has finished yet.")
        found = self._shelf.configurations(sweep, workload)
        sign = 1 if found.direction == "maximize" else -1
        on = [i for i, on in enumerate(found.on_frontier) if on]
        on.sort(key=lambda i: -sign * (found.groups[i].metrics[QUALITY] or 0.0))
        judged = self._shelf.judged(sweep, workload) if odds_key == key else []
        sure = {each.configuration.trials[0]: each.probability for each in judged}
        costs = _costs(found, on)
        rows = [_row(found, i, costs, sure.get(found.groups[i].trials[0])) for i in on[:_LISTED]]
        more = f", the best {_LISTED} of {len(on)}" if len(on) > _LISTED else ""
        caption = f"On the frontier over {', '.join(found.objectives)}{more}"
        words = [found.axes[name].split(" (")[0] for name in costs]
        head = ["Configuration", "kept", "quality", *words, "schedule", "probability"]
        return table(head, rows, caption)

    def choose(self, presses: list[int | None]) -> Any:
        """The trial whose button was pressed."""
        return ctx.triggered_id["trial"] if any(presses) else no_update


def _connect_figure(app: Dash) -> None:
    """What the browser does by itself."""
    figure = [Input("columns", "data"), Input("odds", "data"), Input("shown", "value")]
    limits = [
        Input("x", "value"),
        Input("y", "value"),
        Input("largest", "value"),
        Input("smallest", "value"),
    ]
    app.clientside_callback(
        ClientsideFunction("figures", "frontier"),
        Output("frontier", "figure"),
        *figure,
        *limits,
        Input("frontier-options", "value"),
        Input("point", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("figures", "verdict"),
        Output("verdict", "children"),
        figure[0],
        figure[2],
        *limits,
    )
    app.clientside_callback(
        ClientsideFunction("controls", "clicked"),
        Output("point", "data", allow_duplicate=True),
        Input("frontier", "clickData"),
        prevent_initial_call=True,
    )


def _costs(found: Configurations, shown: Sequence[int]) -> list[str]:
    """The sweep's own costs, and others that some of those shown have."""
    named = dict.fromkeys([*found.objectives, "tokens", "flops", "kv", "latency"])
    metrics = [found.groups[i].metrics for i in shown]
    return [name for name in named if name != QUALITY and any(m[name] is not None for m in metrics)]


def _row(
    found: Configurations, i: int, costs: Sequence[str], probability: float | None
) -> list[Any]:
    group, look = found.groups[i], found.looks[found.labels[i]]
    swatch = html.Span(glyph_of(look), className="swatch", style={"color": look.colour})
    button = html.Button(
        [swatch, found.labels[i]],
        id={"type": "choose", "trial": group.trials[0]},
        className="link",
    )
    metrics = group.metrics
    return [
        button,
        group.keep_label,
        quality(metrics[QUALITY], found.direction),
        *(share(metrics[name]) for name in costs),
        group.schedule,
        share(probability),
    ]
