"""Single examples: where two configurations differ, and which tokens each of them kept."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Final

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.app import example_view
from dashboards.app.comparison import compare
from dashboards.app.configurations import Configurations, is_baseline
from dashboards.app.parts import chooser, labelled, note
from dashboards.app.seen import Provenance, Seen
from dashboards.app.shelf import Shelf
from store.frontiers.frontier import SeedGroup

_LISTED: Final = 100
_KINDS: Final = {"worse": "worse", "better": "better", "equal": "the same", "all": "all"}
_NO_PROVENANCE: Final = (
    "This dashboard was started without models: open it with paretoken ui to see the example and "
    "the tokens that were kept."
)
_WHERE: Final = (State("sweep", "value"), State("workload", "value"))
_TWO: Final = (Input("first", "value"), Input("second", "value"))


class ExamplesPage:
    """A list of examples beside what was seen of the chosen one."""

    title: ClassVar[str] = "Examples"

    def __init__(self, shelf: Shelf, provenance: Provenance | None) -> None:
        self._shelf = shelf
        self._provenance = lru_cache(maxsize=256)(provenance) if provenance else None

    def layout(self) -> html.Div:
        """The page."""
        controls = [
            labelled("Configuration", chooser("first", className="wide")),
            labelled("compared with", chooser("second", className="wide")),
            labelled("Model (seed)", chooser("seed")),
        ]
        kinds = dcc.RadioItems(
            id="kind",
            options=[{"label": words, "value": name} for name, words in _KINDS.items()],
            value="worse",
            inline=True,
            className="ticks inline",
        )
        return html.Div(
            [
                html.Div(controls, className="controls"),
                html.P(id="compared", role="status"),
                html.Div(
                    [
                        html.Section([kinds, html.Div(id="examples")], className="list"),
                        html.Section(
                            [
                                dcc.Store(id="example"),
                                html.Div(id="steps-field", children=_steps_field()),
                                dcc.Loading(html.Div(id="maps"), delay_show=200),
                            ],
                            className="seen",
                            **{"aria-live": "polite"},
                        ),
                    ],
                    className="columns",
                ),
            ],
            className="middle",
        )

    def register(self, app: Dash) -> None:
        """Connect the page."""
        self._connect_two(app)
        self._connect_one(app)

    def _connect_two(self, app: Dash) -> None:
        """Which configurations are compared, and the list of examples."""
        app.callback(
            Output("first", "options"),
            Output("first", "value"),
            Output("second", "options"),
            Output("second", "value"),
            Input("columns-key", "data"),
            Input("view", "value"),
            *_WHERE,
            State("point", "data"),
            State("other", "data"),
        )(self.choices)
        app.callback(
            Output("compared", "children"),
            Output("examples", "children"),
            Output("seed", "options"),
            Output("seed", "value"),
            Output("example", "data"),
            *_TWO,
            Input("kind", "value"),
            *_WHERE,
            State("seed", "value"),
            State("example", "data"),
        )(self.compared)
        app.callback(
            Output("point", "data", allow_duplicate=True),
            Output("other", "data", allow_duplicate=True),
            *_TWO,
            prevent_initial_call=True,
        )(lambda first, second: (first or no_update, second or no_update))

    def _connect_one(self, app: Dash) -> None:
        """Which example is shown, and after which step."""
        app.callback(
            Output("example", "data", allow_duplicate=True),
            Input({"type": "example", "number": ALL}, "n_clicks"),
            prevent_initial_call=True,
        )(lambda presses: ctx.triggered_id["number"] if any(presses) else no_update)
        app.callback(
            Output("maps", "children"),
            Output("step", "options"),
            Output("step", "value"),
            Input("example", "data"),
            Input("seed", "value"),
            Input("step", "value"),
            *(State(each.component_id, "value") for each in _TWO),
            *_WHERE,
        )(self.seen)

    def choices(
        self, key: str | None, view: str, sweep: str, workload: str, point: Any, other: Any
    ) -> tuple[Any, ...]:
        """Every configuration; the chosen point against the uncompressed model."""
        if key is None or view != "examples":
            return (no_update,) * 4
        found = self._shelf.configurations(sweep, workload)
        options = [
            {"label": _words(found, group), "value": group.trials[0]} for group in found.groups
        ]
        baseline = next((i for i, each in enumerate(found.groups) if is_baseline(each)), 0)
        first = found.index.get(point or "", _typical(found))
        second = found.index.get(other or "", baseline)
        return options, found.groups[first].trials[0], options, found.groups[second].trials[0]

    def compared(
        self,
        first: str | None,
        second: str | None,
        kind: str,
        sweep: str,
        workload: str,
        seed: int | None,
        example: int | None,
    ) -> tuple[Any, ...]:
        """A sentence on both, the list of examples, the seeds they share, the example shown."""
        found = self._groups(sweep, workload, first, second)
        if found is None:
            return "", "", [], None, None
        objectives = self._shelf.configurations(sweep, workload).objectives
        try:
            both = compare(self._shelf.store, sweep, objectives, *found)
        except ValueError as error:
            return str(error), "", [], None, None
        listed = both.where(kind)
        shown = example if example in listed else int(listed[0]) if len(listed) else None
        seeds = list(both.paired.seeds)
        listing = example_view.listing(both, listed[:_LISTED].tolist(), len(listed))
        said = example_view.sentence(both)
        return said, listing, seeds, seed if seed in seeds else seeds[0], shown

    def seen(
        self,
        example: int | None,
        seed: int | None,
        step: str | None,
        first: str | None,
        second: str | None,
        sweep: str,
        workload: str,
    ) -> tuple[Any, ...]:
        """Both configurations' view of the example, and the steps to choose from."""
        found = self._groups(sweep, workload, first, second)
        if found is None or example is None or seed is None:
            return note("No such example."), [], None
        if self._provenance is None:
            return note(_NO_PROVENANCE), [], None
        configurations = self._shelf.configurations(sweep, workload)
        sides = [self._side(group, seed, example) for group in found]
        names = example_view.steps_of(sides)
        chosen = step if step in names else next(reversed(names), None)
        drawn = [
            example_view.drawn(_words(configurations, group), side, chosen)
            for group, side in zip(found, sides, strict=True)
        ]
        heading = example_view.heading(example, sides)
        return [heading, html.Div(drawn, className="halves")], names, chosen

    def _side(self, group: SeedGroup, seed: int, example: int) -> Seen | str:
        """What it saw, or why that cannot be shown."""
        assert self._provenance is not None
        try:
            return self._provenance(group.trials[group.seeds.index(seed)], example)
        except (ValueError, RuntimeError, OSError) as error:
            return f"Cannot be shown here: {error}"

    def _groups(
        self, sweep: str, workload: str, *trials: str | None
    ) -> tuple[SeedGroup, SeedGroup] | None:
        """The two configurations, where this workload has both."""
        if None in (sweep, workload, *trials) or workload not in self._shelf.workloads(sweep):
            return None
        found = self._shelf.configurations(sweep, workload)
        places = [found.index.get(trial or "") for trial in trials]
        if places[0] is None or places[1] is None:
            return None
        return found.groups[places[0]], found.groups[places[1]]


def _steps_field() -> html.Fieldset:
    control = dcc.RadioItems(id="step", inline=True, className="ticks inline")
    return html.Fieldset([html.Legend("Tokens left after"), control])


def _typical(found: Configurations) -> int:
    """The cheapest on the frontier that is no baseline: compression that one can see."""
    best = [i for i, on in enumerate(found.on_frontier) if on and not is_baseline(found.groups[i])]
    ranked = sorted(best, key=lambda i: found.groups[i].keep_ratio)
    return ranked[len(ranked) // 2] if ranked else 0


def _words(found: Configurations, group: SeedGroup) -> str:
    label = found.labels[found.index[group.trials[0]]]
    return f"{label}, keep {group.keep_label}, {group.schedule}"
