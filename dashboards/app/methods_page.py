"""Methods against each other: curves over the keep ratio, method by ratio, and their ranks."""

from __future__ import annotations

from typing import Any, ClassVar

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from dashboards.app.parts import graph, note, number, quality, share, table
from dashboards.app.shelf import Shelf
from dashboards.question_parts import labels

_LEGEND = (
    "area: mean quality over the ladder of keep ratios, over log2 of the ratio. best: share of the "
    "resamples in which it is the best; equal groups cannot be told apart. oracle gap: what would "
    "be gained by picking the best ratio for every example, with the share of tokens that keeps; "
    "method gap: by picking the best method for every example. Both are upper bounds."
)


class MethodsPage:
    """Two figures that the browser draws, and a table."""

    title: ClassVar[str] = "Methods"

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def layout(self) -> html.Div:
        """The page."""
        return html.Div(
            [
                html.Div(
                    [
                        html.Section(
                            [
                                html.H2("Quality against kept tokens"),
                                dcc.Checklist(
                                    id="curve-options",
                                    options=[{"label": "95 % bands", "value": "bands"}],
                                    value=["bands"],
                                    className="ticks inline",
                                ),
                                graph("curves", 400),
                            ],
                            className="half",
                        ),
                        html.Section(
                            [
                                html.H2("Method by ratio"),
                                html.P(
                                    "Best schedule of each; the best method on top.",
                                    className="sub",
                                ),
                                graph("heat", 400),
                            ],
                            className="half",
                        ),
                    ],
                    className="halves",
                ),
                dcc.Loading(html.Div(id="rank"), delay_show=300),
            ],
            className="middle",
        )

    def register(self, app: Dash) -> None:
        """Connect the page."""
        figure = [Input("columns", "data"), Input("odds", "data"), Input("shown", "value")]
        app.clientside_callback(
            ClientsideFunction("figures", "curves"),
            Output("curves", "figure"),
            *figure,
            Input("curve-options", "value"),
        )
        app.clientside_callback(
            ClientsideFunction("figures", "heat"), Output("heat", "figure"), figure[0], figure[2]
        )
        for name in ("curves", "heat"):
            app.clientside_callback(
                ClientsideFunction("controls", "clicked"),
                Output("point", "data", allow_duplicate=True),
                Input(name, "clickData"),
                prevent_initial_call=True,
            )
        app.callback(
            Output("rank", "children"),
            Input("columns-key", "data"),
            State("sweep", "value"),
            State("workload", "value"),
        )(self.ranked)

    def ranked(self, key: str | None, sweep: str, workload: str) -> Any:
        """Methods by their area, or why there is no ranking."""
        if key is None:
            return note("No trial of this workload has finished yet.")
        try:
            answer = self._shelf.rank(sweep, workload)
        except ValueError as error:
            return note(f"No ranking: {error}")
        if not answer["methods"]:
            return note("No method has been measured at every ratio of the ladder yet.")
        direction = answer["objectives"].get("quality", "maximize")
        rungs = ", ".join(share(rung) for rung in answer["rungs"])
        named = zip(labels(answer["methods"]), answer["methods"], strict=True)
        rows = [_row(place, *each, direction) for place, each in enumerate(named, 1)]
        head = ["", "Method", "schedule", "area", "95 % interval", "best", "group"]
        head += ["oracle gap", "oracle keeps", "method gap"]
        rest = len(answer["incomplete"])
        left = f"; {rest} without every ratio left out" if rest else ""
        caption = f"Rank over {rungs} kept ({answer['examples']} examples{left})"
        return [table(head, rows, caption), html.P(_LEGEND, className="legend")]


def _row(place: int, name: str, row: dict[str, Any], direction: str) -> Any:
    return [
        str(place),
        name,
        row["schedule"],
        quality(row["area"], direction),
        f"{quality(row['low'], direction)} to {quality(row['high'], direction)}",
        share(row["probability"]),
        str(row["group"]),
        quality(row["oracle_gap"], direction)
        if direction == "maximize"
        else number(row["oracle_gap"]),
        share(row["oracle_keep"]),
        quality(row["method_gap"], direction),
    ]
