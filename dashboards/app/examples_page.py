"""Single examples: where two configurations differ, and which tokens each of them kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.app.comparison import Comparison, compare
from dashboards.app.configurations import Configurations, is_baseline
from dashboards.app.maps import image, step_map
from dashboards.app.parts import chooser, labelled, note, number, quality, share, table
from dashboards.app.seen import Provenance, Seen, Step
from dashboards.app.shelf import Shelf
from store.frontiers.frontier import SeedGroup

_LISTED: Final = 100
_KINDS: Final = {"worse": "worse", "better": "better", "equal": "the same", "all": "all"}
_NO_PROVENANCE: Final = (
    "This dashboard was started without models: open it with paretoken ui to see the example and "
    "the tokens that were kept."
)


class ExamplesPage:
    """A list of examples beside what was seen of the chosen one."""

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
        where = [State("sweep", "value"), State("workload", "value")]
        two = [Input("first", "value"), Input("second", "value")]
        app.callback(
            Output("first", "options"),
            Output("first", "value"),
            Output("second", "options"),
            Output("second", "value"),
            Input("columns-key", "data"),
            Input("view", "value"),
            *where,
            State("point", "data"),
            State("other", "data"),
        )(self.choices)
        app.callback(
            Output("compared", "children"),
            Output("examples", "children"),
            Output("seed", "options"),
            Output("seed", "value"),
            Output("example", "data"),
            *two,
            Input("kind", "value"),
            *where,
            State("seed", "value"),
            State("example", "data"),
        )(self.compared)
        app.callback(
            Output("point", "data", allow_duplicate=True),
            Output("other", "data", allow_duplicate=True),
            *two,
            prevent_initial_call=True,
        )(lambda first, second: (first or no_update, second or no_update))
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
            *(State(each.component_id, "value") for each in two),
            *where,
        )(self.seen)

    def choices(
        self, key: str | None, view: str, sweep: str, workload: str, point: Any, other: Any
    ) -> tuple[Any, ...]:
        """Every configuration; the chosen point against the uncompressed model."""
        if key is None or view != "examples":
            return (no_update,) * 4
        found = self._shelf.configurations(sweep, workload)
        options = [
            {"label": _words(found, i), "value": group.trials[0]}
            for i, group in enumerate(found.groups)
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
        listing = _listing(both, listed[:_LISTED].tolist(), len(listed))
        return _sentence(both), listing, seeds, seed if seed in seeds else seeds[0], shown

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
        names = _steps(sides)
        chosen = step if step in names else next(reversed(names), None)
        drawn = [
            _drawn(_words(configurations, configurations.index[group.trials[0]]), side, chosen)
            for group, side in zip(found, sides, strict=True)
        ]
        return [_inputs(example, sides), html.Div(drawn, className="halves")], names, chosen

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


def _steps(sides: Sequence[Seen | str]) -> list[str]:
    """Names of the steps of either side, each once."""
    seen = (side for side in sides if isinstance(side, Seen))
    return list(dict.fromkeys(step.name for side in seen for step in side.steps))


def _typical(found: Configurations) -> int:
    """The cheapest on the frontier that is no baseline: compression that one can see."""
    best = [i for i, on in enumerate(found.on_frontier) if on and not is_baseline(found.groups[i])]
    ranked = sorted(best, key=lambda i: found.groups[i].keep_ratio)
    return ranked[len(ranked) // 2] if ranked else 0


def _words(found: Configurations, i: int) -> str:
    group = found.groups[i]
    return f"{found.labels[i]}, keep {group.keep_label}, {group.schedule}"


def _sentence(both: Comparison) -> str:
    direction = both.paired.direction
    worse, better, equal = (len(both.where(kind)) for kind in ("worse", "better", "equal"))
    low, high = both.interval
    means = [quality(float(mean), direction) for mean in both.paired.means[:2]]
    ends = f"{quality(low, direction)} to {quality(high, direction)}"
    return (
        f"{means[0]} against {means[1]}: difference {quality(both.difference, direction)} "
        f"(95 % interval {ends}). Worse on {worse} examples, better on {better}, equal on {equal}."
    )


def _listing(both: Comparison, examples: Sequence[int], total: int) -> Any:
    if not examples:
        return note("No example.")
    rows = [
        [
            html.Button(f"{e}", id={"type": "example", "number": e}, className="link"),
            *(number(float(outcome)) for outcome in both.outcomes_2E[:, e]),
            f"{both.gains_E[e]:+.3g}",
        ]
        for e in examples
    ]
    more = f" (the first {len(examples)})" if total > len(examples) else ""
    head = ["Example", "this", "other", "gain"]
    return table(head, rows, f"{total} examples{more}: mean outcome over seeds")


def _inputs(example: int, sides: Sequence[Seen | str]) -> html.Div:
    known = next((side for side in sides if isinstance(side, Seen)), None)
    facts = known.inputs if known else {}
    said = "; ".join(f"{name}: {_plain(value)}" for name, value in facts.items())
    return html.Div([html.H2(f"Example {example}"), html.P(said, className="sub")])


def _drawn(words: str, side: Seen | str, step: str | None) -> html.Section:
    if isinstance(side, str):
        return html.Section([html.H3(words), note(side)], className="half")
    chosen = _at(side, step)
    maps = step_map(side, chosen) if chosen else _untouched(side)
    said = _left(chosen) if chosen else "keeps every token"
    return html.Section(
        [
            html.H3(words),
            html.P(f"gives {_plain(side.answer)}; outcome {side.outcome:.4g}", className="sub"),
            html.P([said, f". {side.remark}" if side.remark else ""], className="sub"),
            html.Div(maps, className="maps"),
        ],
        className="half",
    )


def _left(step: Step) -> str:
    total = len(step.shares_N)
    if step.num_out is None:
        return f"on average over heads, {share(step.kept)} of {total} tokens are held"
    dropped = sum(share_of == 0 for share_of in step.shares_N)
    return f"{step.num_out} tokens left of {total}, {dropped or 'none'} dropped"


def _at(side: Seen, step: str | None) -> Step | None:
    named = {each.name: each for each in side.steps}
    return named.get(step or "", side.steps[-1] if side.steps else None)


def _untouched(side: Seen) -> list[Any]:
    if side.pictures:
        return [image(p.pixels_HW3, f"Image {n}") for n, p in enumerate(side.pictures, 1)]
    return [html.P([html.Span(w, className="token whole") for w in side.words], className="tokens")]


def _plain(value: Any) -> str:
    """A JSON value in few words: rounded, and of a distribution only the largest."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {_plain(each)}" for name, each in value.items() if _is_short(each)
        )
    return value if isinstance(value, str) else json.dumps(value)


def _is_short(value: Any) -> bool:
    return not isinstance(value, list | dict) or len(value) <= 4
