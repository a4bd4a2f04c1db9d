"""The tables of ``paretoken releases``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from store.releases.ledger import Ledger
from store.releases.line import Entry, Line, Step

_NONE = "No releases yet: paretoken release SWEEP"


def lines(ledger: Ledger) -> list[dict[str, Any]]:
    """What every sweep with releases serves."""
    rows = []
    for sweep in ledger.sweeps():
        line = ledger.line(sweep)
        canary = line.canary
        rows.append(
            {
                "sweep": sweep,
                "releases": ledger.newest(sweep),
                "active": line.active,
                "canary": None if canary is None else canary.number,
                "share": None if canary is None else canary.terms.share,
                "previous": line.previous,
            }
        )
    return rows


def lines_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line per sweep."""
    if not rows:
        return Text(_NONE)
    names = ("releases", "active", "canary", "share", "previous")
    columns = [Column(name, [_plain(row[name]) for row in rows]) for name in names]
    sweeps = Column("sweep", [row["sweep"] for row in rows], justify="left", folds=True)
    return FittingTable("Releases", [sweeps, *columns])


def steps(ledger: Ledger, sweep: str) -> list[dict[str, Any]]:
    """Every step of a sweep's releases, and where each one led."""
    line, rows = Line(), []
    for entry in ledger.entries(sweep):
        line = line.after(entry)
        rows.append(_step(sweep, entry, line))
    if not rows:
        raise ValueError(f"sweep {sweep!r} has no release; make one: paretoken release {sweep}")
    return rows


def steps_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line per step."""
    return FittingTable(
        f"Releases of {rows[0]['sweep']}",
        [
            Column(
                "when (UTC)", [row["at"][:19].replace("T", " ") for row in rows], justify="left"
            ),
            Column("release", [str(row["release"]) for row in rows]),
            Column("step", [row["step"] for row in rows], justify="left"),
            Column("active", [_plain(row["active"]) for row in rows]),
            Column("who", [row["who"] for row in rows], justify="left"),
            Column("why", [row["why"] for row in rows], justify="left", folds=True),
        ],
    )


def _step(sweep: str, entry: Entry, line: Line) -> dict[str, Any]:
    return {
        "sweep": sweep,
        "sequence": entry.sequence,
        "release": entry.number,
        "step": entry.step.value,
        "at": entry.at.isoformat(timespec="seconds"),
        "who": entry.who,
        "why": entry.why or _summary(entry),
        "active": line.active,
        "evidence": entry.evidence,
    }


def _summary(entry: Entry) -> str:
    """What the evidence says, where nobody said why."""
    match entry.step:
        case Step.PASSED:
            return f"{len(entry.evidence['checks'])} checks"
        case Step.FAILED:
            failed = [check for check in entry.evidence["checks"] if not check["passed"]]
            return "; ".join(f"{check['subject']}: {check['words']}" for check in failed)
        case Step.REGISTERED:
            return f"{entry.evidence['model']} version {entry.evidence['version']}"
        case Step.CANARY:
            terms = entry.evidence["terms"]
            return f"{terms['share']:.0%} of the requests, {terms['requests']} at least"
    return ""


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}" if isinstance(value, float) else str(value)
