"""The frame around every page: which sweep, which workload, which view, which methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import parse_qs

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from flask import Response, request

from dashboards.app.parts import chooser, labelled
from dashboards.app.shelf import Shelf

_FIRST: Final = "frontier"
"""The view that an address without one opens."""
_NOTHING: Final = b"null"
REFRESH_MS: Final = 3_000
"""How often a page asks whether the store has changed."""


class Page(Protocol):
    """What one view shows."""

    title: ClassVar[str]
    """In the row of views; in lower case its name in addresses."""

    def layout(self) -> html.Div:
        """What is there when the view is chosen."""
        ...

    def register(self, app: Dash) -> None:
        """Connect its controls, whether it is shown or not."""
        ...


def shell(views: Mapping[str, str], mlflow_url: str | None) -> html.Div:
    """What is there before anything is known; views are titles by name."""
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="tick", interval=REFRESH_MS),
            dcc.Store(id="revision"),
            dcc.Store(id="columns"),
            dcc.Store(id="columns-key"),
            dcc.Store(id="odds"),
            dcc.Store(id="odds-key"),
            dcc.Store(id="point"),
            dcc.Store(id="other"),
            html.A("Skip to the page", href="#page", className="skip"),
            _header(views, mlflow_url),
            html.Div([_sidebar(), html.Main(id="page", tabIndex="-1")], id="body"),
        ],
        id="app",
    )


def _header(views: Mapping[str, str], mlflow_url: str | None) -> html.Header:
    link = html.A("MLflow", href=mlflow_url, target="_blank", className="out") if mlflow_url else ""
    return html.Header(
        [
            html.Span("Paretoken", className="brand"),
            labelled("Sweep", chooser("sweep")),
            labelled("Workload", chooser("workload")),
            html.Nav(
                dcc.RadioItems(id="view", options=words_of(views), inline=True),
                **{"aria-label": "View"},
            ),
            html.Span(id="live", role="status"),
            link,
        ]
    )


def _sidebar() -> html.Aside:
    return html.Aside(
        [
            html.Fieldset(
                [html.Legend("Families"), dcc.Checklist(id="families", className="ticks")]
            ),
            html.Fieldset(
                [
                    html.Legend("Methods"),
                    html.Div(
                        [
                            html.Button("All", id="all-methods"),
                            html.Button("None", id="no-methods"),
                            html.Button("On frontier", id="best-methods"),
                        ],
                        className="buttons",
                    ),
                    dcc.Checklist(id="shown", className="ticks methods"),
                ]
            ),
        ],
        id="sidebar",
    )


class Navigation:
    """What happens when somebody chooses."""

    def __init__(self, shelf: Shelf, views: Iterable[str]) -> None:
        self._shelf = shelf
        self._views = [*views]

    def register(self, app: Dash) -> None:
        """Connect the frame's controls."""
        app.callback(
            Output("sweep", "options"),
            Output("sweep", "value"),
            Output("workload", "options"),
            Output("workload", "value"),
            Output("view", "value"),
            Output("point", "data"),
            Output("other", "data"),
            Input("url", "search"),
        )(self.arrive)
        app.callback(
            Output("workload", "options", allow_duplicate=True),
            Output("workload", "value", allow_duplicate=True),
            Input("sweep", "value"),
            State("workload", "value"),
            prevent_initial_call=True,
        )(self.change_sweep)
        app.callback(
            Output("revision", "data"),
            Input("tick", "n_intervals"),
            Input("sweep", "value"),
            State("revision", "data"),
        )(self.look)
        for name, answer in (("columns", self.columns), ("odds", self.odds)):
            place = f"{app.config.routes_pathname_prefix}{name}"
            app.server.add_url_rule(place, name, self._answered(answer))
        _connect_address(app)
        _connect_methods(app)

    def arrive(self, search: str | None) -> tuple[Any, ...]:
        """Everything that the address asks for, or the latest sweep."""
        asked = {name: found[0] for name, found in parse_qs((search or "").lstrip("?")).items()}
        known = self._shelf.store.sweeps()
        names = [each.name for each in known]
        latest = next((each.name for each in known if each.finished), names[0] if names else None)
        sweep = asked.get("sweep") if asked.get("sweep") in names else latest
        workloads = self._shelf.workloads(sweep) if sweep else []
        workload = _one_of(workloads, asked.get("workload"))
        view = _one_of(self._views, asked.get("view")) if "view" in asked else _FIRST
        return names, sweep, workloads, workload, view, asked.get("point"), asked.get("other")

    def change_sweep(self, sweep: str | None, workload: str | None) -> tuple[list[str], Any]:
        """Its workloads; one of the same name stays chosen."""
        names = self._shelf.workloads(sweep) if sweep else []
        chosen = _one_of(names, workload)
        return names, no_update if chosen == workload else chosen

    def look(self, _: int | None, sweep: str | None, known: str | None) -> Any:
        """The store's revision, if it is another one."""
        if sweep is None:
            return no_update
        found = f"{sweep} {self._shelf.revision(sweep)}"
        return no_update if found == known else found

    def columns(self, sweep: str, workload: str) -> bytes:
        """Every configuration's numbers."""
        found = self._shelf.configurations(sweep, workload)
        return found.as_json if found.groups else _NOTHING

    def odds(self, sweep: str, workload: str) -> bytes:
        """Intervals and probabilities, which take longer than the numbers themselves."""
        try:
            return self._shelf.odds(sweep, workload)
        except ValueError as error:  # costs alone were measured
            return json.dumps({"why_not": str(error)}).encode()

    def _answered(self, answer: Callable[[str, str], bytes]) -> Callable[[], Response]:
        """A view. The revision is part of an address, so that browsers may keep the answer."""

        def view() -> Response:
            sweep, workload = request.args.get("sweep"), request.args.get("workload")
            there = self._is_there(sweep, workload)
            content = answer(str(sweep), str(workload)) if there else _NOTHING
            kept = {"Cache-Control": "private, max-age=86400"}
            return Response(content, mimetype="application/json", headers=kept)

        return view

    def _is_there(self, sweep: str | None, workload: str | None) -> bool:
        """Whether the chosen names belong together; for a moment they may not."""
        return sweep is not None and workload in self._shelf.workloads(sweep)


def _connect_address(app: Dash) -> None:
    """Numbers are fetched, and the address kept, by the browser alone."""
    app.clientside_callback(
        ClientsideFunction("controls", "fetched"),
        Output("columns", "data"),
        Output("columns-key", "data"),
        Input("workload", "value"),
        Input("revision", "data"),
        State("sweep", "value"),
    )
    app.clientside_callback(
        ClientsideFunction("controls", "remember"),
        Output("app", "data-view"),
        Input("sweep", "value"),
        Input("workload", "value"),
        Input("view", "value"),
        Input("point", "data"),
        Input("other", "data"),
    )


def _connect_methods(app: Dash) -> None:
    """So are the methods listed and chosen."""
    app.clientside_callback(
        ClientsideFunction("controls", "options"),
        Output("families", "options"),
        Output("families", "value"),
        Output("shown", "options"),
        Output("shown", "value"),
        Input("columns", "data"),
        State("shown", "options"),
        State("shown", "value"),
        State("families", "value"),
    )
    app.clientside_callback(
        ClientsideFunction("controls", "choose"),
        Output("shown", "value", allow_duplicate=True),
        Output("families", "value", allow_duplicate=True),
        Input("families", "value"),
        Input("all-methods", "n_clicks"),
        Input("no-methods", "n_clicks"),
        Input("best-methods", "n_clicks"),
        State("columns", "data"),
        State("shown", "value"),
        prevent_initial_call=True,
    )


def _one_of(choices: list[str], wanted: str | None) -> str | None:
    return wanted if wanted in choices else next(iter(choices), None)


def words_of(names: Mapping[str, str]) -> list[dict[str, str]]:
    """Options of a list: the words for people by what they stand for."""
    return [{"label": text, "value": name} for name, text in names.items()]
