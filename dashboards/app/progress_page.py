"""Sweeps as they run: how far, how fast, how busy, what failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from dash import Dash, Input, Output, State, html

from dashboards import progress
from dashboards.app.parts import NONE, note, share, table
from dashboards.app.shelf import Shelf
from store.records import Failure, SweepStatus
from store.sql.running import Run

_SILENT_S: Final = 20.0
"""A driver raises its beat every 4 s."""
_FAILURES: Final = 30


class ProgressPage:
    """Read anew at every tick; nothing is kept but the beats."""

    title: ClassVar[str] = "Progress"

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._beats: dict[str, tuple[int, float]] = {}

    def layout(self) -> html.Div:
        """The page; what it shows comes with the first look."""
        return html.Div(
            [html.Div(id="running", **{"aria-live": "off"}), html.Div(id="failing")],
            className="middle",
        )

    def register(self, app: Dash) -> None:
        """Connect the page."""
        app.callback(
            Output("running", "children"),
            Input("tick", "n_intervals"),
            Input("view", "value"),
        )(self.running)
        app.callback(
            Output("failing", "children"),
            Input("revision", "data"),
            Input("view", "value"),
            State("sweep", "value"),
        )(self.failing)

    def running(self, *_: object) -> list[Any]:
        """A card for every run, and all sweeps below."""
        statuses = {each.name: each for each in self._shelf.store.sweeps()}
        runs = [run for run in self._shelf.store.runs() if run.sweep in statuses]
        cards = [_card(run, statuses[run.sweep], self._silence(run)) for run in runs]
        return [
            html.Section(cards or [note("No sweep is running.")], className="cards"),
            _all(list(statuses.values()), {run.sweep for run in runs}),
        ]

    def failing(self, _: object, __: object, sweep: str | None) -> Any:
        """What failed in the chosen sweep."""
        if sweep is None:
            return ""
        store = self._shelf.store
        found = [*store.failures(sweep), *store.failed_timings(sweep)]
        return _failures(sweep, found) if found else ""

    def _silence(self, run: Run) -> float:
        """Seconds since its beat was last seen to grow."""
        now = time.monotonic()
        beat, since = self._beats.get(run.driver, (run.beat, now))
        self._beats[run.driver] = (run.beat, now if beat != run.beat else since)
        return now - self._beats[run.driver][1]


def state_of(run: Run, status: SweepStatus, now: datetime) -> progress.State:
    """What a terminal would show of the run."""
    succeeded = run.measured - run.failed
    return progress.State(
        total=status.planned,
        reused=max(0, status.finished - succeeded),
        done=run.measured,
        running=run.running,
        failed=run.failed,
        seconds=(now - run.started).total_seconds(),
    )


def _card(run: Run, status: SweepStatus, silence: float) -> html.Article:
    now = datetime.now(UTC)
    state = state_of(run, status, now)
    settled = status.finished + status.failed
    facts = {
        "done": f"{settled:,} of {status.planned:,}",
        "running": f"{state.running:,}",
        "reused": f"{state.reused:,}",
        "failed": f"{status.failed:,}",
        "timed": f"{run.timed:,}",
        "left": _left(state, settled, status.planned),
        "speed": NONE if state.per_second is None else f"{state.per_second:.2f} per s",
        "workers": f"{run.workers}",
        "utilisation": share(run.utilisation(now)),
        "for": progress.duration(state.seconds),
    }
    return html.Article(
        [
            html.H2([html.A(run.sweep, href=f"?{urlencode({'sweep': run.sweep})}")]),
            html.Progress(value=str(settled), max=str(max(status.planned, 1))),
            html.Dl(
                [html.Div([html.Dt(name), html.Dd(text)]) for name, text in facts.items()],
                className="facts",
            ),
            html.P(_life(run, silence), className="sub"),
        ],
        className="card",
    )


def _left(state: progress.State, settled: int, planned: int) -> str:
    if settled >= planned:
        return "timing" if planned else NONE
    return NONE if state.eta is None else f"about {progress.duration(state.eta)}"


def _life(run: Run, silence: float) -> str:
    if silence < _SILENT_S:
        return f"run by {run.driver}"
    return f"run by {run.driver}, which has given no sign of life for {progress.duration(silence)}"


def _all(statuses: Sequence[SweepStatus], running: set[str]) -> Any:
    if not statuses:
        return note("The store has no sweep yet; make one with: paretoken run FILE")
    head = ["Sweep", "", "finished", "failed", "open", "timed", "impossible", "took"]
    head += ["utilisation", "updated (UTC)"]
    return table(head, [_line(each, each.name in running) for each in statuses], "All sweeps")


def _line(status: SweepStatus, is_running: bool) -> list[Any]:
    settled = status.finished + status.failed
    bar = html.Progress(value=str(settled), max=str(max(status.planned, 1)))
    return [
        html.A(status.name, href=f"?{urlencode({'sweep': status.name})}"),
        html.Span([bar, " running" if is_running else ""]),
        f"{status.finished:,} of {status.planned:,}",
        f"{status.failed:,}",
        f"{status.planned - settled:,}",
        f"{status.timed:,}",
        f"{status.impossible:,}",
        NONE if status.seconds is None else progress.duration(status.seconds),
        share(status.utilisation),
        f"{status.updated:%Y-%m-%d %H:%M}",
    ]


def _failures(sweep: str, found: Sequence[Failure]) -> html.Section:
    kinds = Counter(each.kind.value for each in found)
    rows = [_failure(each) for each in found[:_FAILURES]]
    said = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    head = ["Workload", "Configuration", "", "kind", "message"]
    return html.Section([table(head, rows, f"Failed in {sweep}: {said}")])


def _failure(found: Failure) -> list[Any]:
    message = html.Details([html.Summary(_first(found.error)), html.Pre(found.error)])
    what = f"{found.method}, keep {found.keep_label}"
    return [found.workload, what, f"seed {found.seed}", found.kind.value, message]


def _first(error: str) -> str:
    return error.strip().splitlines()[0][:120] if error.strip() else "no message"
