"""Everything about one configuration, and ways to take it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from dash import ClientsideFunction, Dash, Input, Output, State, html

from dashboards.app import exports
from dashboards.app.configurations import Configurations, family_of, glyph_of, title_of
from dashboards.app.parts import note, number, quality, share
from dashboards.app.shelf import Shelf
from methods.naming import short
from sweeps.metrics import FRACTIONS, QUALITY

_ABSOLUTE = (
    "flops_per_example",
    "kv_bytes",
    "weight_bytes",
    "peak_bytes",
    "latency_seconds",
    "compressor_seconds",
    "energy_joules",
)


class PointPanel:
    """The column at the side of the frontier."""

    def __init__(self, shelf: Shelf, server: str | None) -> None:
        self._shelf = shelf
        self._server = server

    def register(self, app: Dash) -> None:
        """Connect the panel."""
        app.callback(
            Output("panel", "children"),
            Input("point", "data"),
            Input("columns-key", "data"),
            State("sweep", "value"),
            State("workload", "value"),
        )(self.shown)
        for kind in ("yaml", "curl"):
            app.clientside_callback(
                ClientsideFunction("controls", "copy"),
                Output(f"{kind}-copied", "children"),
                Input(f"copy-{kind}", "n_clicks"),
                State(f"{kind}-text", "children"),
                prevent_initial_call=True,
            )

    def shown(self, trial: str | None, key: str | None, sweep: str, workload: str) -> Any:
        """The panel of the configuration that a trial belongs to."""
        if key is None:
            return ""
        found = self._shelf.configurations(sweep, workload)
        place = found.index.get(trial or "")
        if place is None:
            return note(
                "Choose a point, or a row of the table, to see everything about it, its examples, "
                "and how to run or serve it."
            )
        return [
            *_heading(found, place),
            html.Dl(list(_facts(found, place))),
            _links(sweep, workload, found.groups[place].trials[0]),
            *self._copies(sweep, found, place),
        ]

    def _copies(self, sweep: str, found: Configurations, place: int) -> list[Any]:
        group = found.groups[place]
        spec = self._shelf.store.specs([group.trials[0]])[group.trials[0]]
        texts = {
            "yaml": exports.as_yaml(self._shelf.store.spec(sweep), group, spec),
            "curl": exports.as_curl(group, self._server),
        }
        return [part for kind, text in texts.items() for part in _copyable(kind, text)]


def _heading(found: Configurations, place: int) -> list[Any]:
    look, group = found.looks[found.labels[place]], found.groups[place]
    swatch = html.Span(glyph_of(look), className="swatch", style={"color": look.colour})
    place_of = " · on the frontier" if found.on_frontier[place] else ""
    return [
        html.H2([swatch, f"{found.labels[place]}, keep {group.keep_label}"]),
        html.P(f"{family_of(group.method)} · {group.workload}{place_of}", className="sub"),
    ]


def _facts(found: Configurations, place: int) -> Iterator[Any]:
    group = found.groups[place]
    metrics = group.metrics
    spread = group.spread[QUALITY]
    seeds = f"{len(group.seeds)} seeds" if len(group.seeds) > 1 else f"seed {group.seeds[0]}"
    yield from _fact("quality", quality(metrics[QUALITY], found.direction))
    if spread and len(group.seeds) > 1:
        ends = [quality(value, found.direction) for value in (spread.low, spread.high)]
        yield from _fact(f"over {seeds}", f"{ends[0]} to {ends[1]}")
    yield from _fact("examples", number(metrics["num_examples"]))
    for name, words in FRACTIONS.items():
        if metrics[name] is not None:
            void = name in group.simulated or name in group.outside_lane
            yield from _fact(words, share(metrics[name]) + (" (no frontier)" if void else ""))
    yield from _fact("schedule", f"{group.schedule}, nominal keep {group.keep_ratio:.4g}")
    for name, value in _hyperparameters(found, place):
        yield from _fact(name, value)
    for name in _ABSOLUTE:
        if metrics[name]:
            yield from _fact(title_of(name), number(metrics[name]))
    yield from _fact("trials", " ".join(map(short, group.trials)))


def _hyperparameters(found: Configurations, place: int) -> Iterator[tuple[str, str]]:
    for part in filter(None, found.chosen[place].split(", ")):
        name, _, value = part.partition(" = ")
        yield name, value


def _fact(name: str, value: str) -> list[Any]:
    return [html.Dt(name), html.Dd(value)]


def _links(sweep: str, workload: str, trial: str) -> html.P:
    asked = {"sweep": sweep, "workload": workload, "view": "examples", "point": trial}
    return html.P(
        html.A("See its examples, and which tokens it kept", href=f"?{urlencode(asked)}"),
        className="sub",
    )


def _copyable(kind: str, text: str) -> list[Any]:
    words = {"yaml": "Copy as YAML", "curl": "Copy as curl"}[kind]
    return [
        html.Div(
            [
                html.Button(words, id=f"copy-{kind}"),
                html.Span(id=f"{kind}-copied", role="status", className="copied"),
            ],
            className="buttons",
        ),
        html.Details([html.Summary("show"), html.Pre(text, id=f"{kind}-text")]),
    ]
