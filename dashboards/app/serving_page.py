"""The serving side: what a running server has released, and who answers the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from dash import Dash, Input, Output, dcc, html

from dashboards.app import traffic
from dashboards.app.exports import SERVER
from dashboards.app.parts import NONE, labelled, note, number, share, table
from dashboards.app.traffic import Counts, Snapshot
from methods.naming import short
from store.releases.ledger import Ledger

_STEPS: Final = 30
_LEGEND: Final = (
    "Since the server started. share: of all answers; p50, p95: from the request's first byte to "
    "the answer's last, read from a histogram; kept: tokens kept per layer of those that came in. "
    "Expected quality and costs are those that were measured."
)


class ServingPage:
    """Asked anew at every tick, of one server."""

    title: ClassVar[str] = "Serving"

    def __init__(self, store_url: str, server: str | None) -> None:
        self._ledger = Ledger(store_url)
        self._server = server
        self._before: dict[str, Snapshot] = {}

    def layout(self) -> html.Div:
        """The page."""
        address = dcc.Input(
            id="server", type="url", value=self._server or SERVER, debounce=True, className="wide"
        )
        return html.Div(
            [
                html.Div([labelled("Address of a running server", address)], className="controls"),
                html.Div(id="traffic"),
            ],
            className="middle",
        )

    def register(self, app: Dash) -> None:
        """Connect the page."""
        app.callback(
            Output("traffic", "children"), Input("server", "value"), Input("tick", "n_intervals")
        )(self.shown)

    def shown(self, url: str | None, _: int | None) -> Any:
        """What the server says now, or why it says nothing."""
        ledger = list(_ledgers(self._ledger))
        try:
            now = traffic.read(url or SERVER)
        except ValueError as error:
            return [note(f"{error}"), *ledger]
        before = self._before.get(url or SERVER, now)
        self._before[url or SERVER] = now
        return [*_sections(now, before), html.P(_LEGEND, className="legend"), *ledger]


def _ledgers(ledger: Ledger) -> Iterator[Any]:
    """Every step of every sweep's releases, the latest first."""
    for sweep in ledger.sweeps():
        line = ledger.line(sweep)
        rows = [
            [
                f"{sweep}@{entry.number}",
                entry.step.value,
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                entry.who,
                entry.why,
            ]
            for entry in reversed(ledger.entries(sweep))
        ]
        canary = f", canary @{line.canary.number}" if line.canary else ""
        active = f"@{line.active}" if line.active is not None else "nothing"
        head = ["Release", "step", "at (UTC)", "who", "why"]
        yield table(head, rows[:_STEPS], f"Releases of {sweep}: {active} active{canary}")


def _sections(now: Snapshot, before: Snapshot) -> Iterator[Any]:
    total = sum(each.requests for each in now.counts.values())
    speed = _speed(total, sum(each.requests for each in before.counts.values()), now, before)
    facts = {
        "sweep served": now.release["sweep"],
        "points": str(sum(len(each["configurations"]) for each in now.release["workloads"])),
        "answers": f"{total:,.0f}",
        "per second": speed,
        "refused before a point was chosen": f"{now.refused_early:,.0f}",
    } | {f"release {name} gets": share(part) for name, part in now.shares.items()}
    yield html.Dl(
        [html.Div([html.Dt(name), html.Dd(text)]) for name, text in facts.items()],
        className="facts card",
    )
    for workload in now.release["workloads"]:
        yield _release(workload, now, before, total)


def _release(workload: dict[str, Any], now: Snapshot, before: Snapshot, total: float) -> Any:
    costs = [name for name in workload["objectives"] if name != "quality"]
    rows = [
        _row(each, workload["workload"], costs, now, before, total)
        for each in workload["configurations"]
    ]
    head = ["Point", "kept", "expected quality", *costs, "answers", "share", "per s", "p50", "p95"]
    head += ["refused", "errors", "kept now"]
    return table(head, rows, f"Released for {workload['workload']}, and its traffic")


def _row(
    entry: dict[str, Any],
    workload: str,
    costs: list[str],
    now: Snapshot,
    before: Snapshot,
    total: float,
) -> list[Any]:
    card, measured = entry["configuration"], entry["measured"]
    point = (workload, card["trial"])
    counts, earlier = now.counts.get(point, Counts()), before.counts.get(point, Counts())
    part = counts.requests / total if total else 0.0
    return [
        f"{card['method']} ({card['schedule']}, seed {card['seed']}) {short(card['trial'])}",
        f"{card['keep_ratio']:.4g}",
        number(measured["quality"]),
        *(number(measured.get(name)) for name in costs),
        f"{counts.requests:,.0f}",
        html.Span([html.Progress(value=f"{part:.4f}", max="1"), f" {share(part)}"]),
        _speed(counts.requests, earlier.requests, now, before),
        _milliseconds(counts.quantile(0.5)),
        _milliseconds(counts.quantile(0.95)),
        f"{counts.refused:,.0f}",
        f"{counts.errors:,.0f}",
        share(counts.tokens_kept / counts.tokens_in if counts.tokens_in else None),
    ]


def _speed(now: float, before: float, at: Snapshot, since: Snapshot) -> str:
    seconds = at.at - since.at
    return f"{(now - before) / seconds:.1f}" if seconds > 0 else NONE


def _milliseconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1000 * seconds:.3g} ms"
