"""A plan beside what is stored, for the terminal and as plain rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from dashboards.tables import some

if TYPE_CHECKING:
    from store.comparison.difference import Change, Difference

Json = dict[str, Any]
_TITLES = {
    "new": "To measure",
    "open": "To measure, planned before",
    "failed": "To try again",
    "impossible": "Impossible, as it turned out",
    "reused": "Reused",
    "retired": "Retired, no longer in the file; what they measured stays stored",
}


def difference_rows(found: Difference, num_impossible: int) -> Json:
    """Counts and every trial as one JSON object."""
    counts = Counter(change.fate.value for change in found.changes)
    return {
        "sweep": found.sweep,
        "stored": found.stored,
        "to_measure": counts["new"] + counts["open"] + counts["failed"],
        **{fate: counts[fate] for fate in _TITLES},
        "impossible": num_impossible + counts["impossible"],
        "trials": [{**change._asdict(), "fate": change.fate.value} for change in found.changes],
    }


def difference_table(found: Difference, rows: Mapping[str, Any]) -> RenderableType:
    """One sentence, then for every fate the trials by reason."""
    parts: list[RenderableType] = [Text(_sentence(rows), style="bold"), Text()]
    for fate, title in _TITLES.items():
        changes = [change for change in found.changes if change.fate == fate]
        if changes:
            parts.append(_reasons(title, changes))
    return Group(*parts)


def _sentence(rows: Mapping[str, Any]) -> str:
    counted = (
        f"+{rows['to_measure']:,} trials, {rows['reused']:,} reused, {rows['retired']:,} retired"
    )
    impossible = f"; {rows['impossible']:,} impossible (paretoken plan says why)"
    first = "" if rows["stored"] else "; the store has no sweep of this name yet"
    return f"{rows['sweep']}: {counted}{impossible * bool(rows['impossible'])}{first}"


def _reasons(title: str, changes: list[Change]) -> FittingTable:
    methods: dict[tuple[str, str], dict[str, None]] = {}
    for change in changes:
        methods.setdefault((change.workload, "; ".join(change.why)), {})[change.method] = None
    counts = Counter((change.workload, "; ".join(change.why)) for change in changes)
    columns = [
        Column("count", [f"{count:,}" for count in counts.values()]),
        Column("workload", [workload for workload, _ in counts], justify="left"),
        Column("methods", [some(methods[key]) for key in counts], justify="left", folds=True),
        Column("why", [why for _, why in counts], justify="left", folds=True),
    ]
    return FittingTable(f"{title}: {len(changes):,}", columns)
