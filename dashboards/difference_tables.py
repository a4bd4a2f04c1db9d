"""A plan beside what is stored, for the terminal and as plain rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from dashboards.words import some
from methods.naming import counted
from store.comparison.difference import Fate

if TYPE_CHECKING:
    from store.comparison.difference import Difference

Json = dict[str, Any]
Reasons = defaultdict[tuple[str, tuple[str, ...]], Counter[str]]
"""How many trials of each method have a workload and a reason why."""
_TITLES = {
    "new": "To measure",
    "open": "To measure, planned before",
    "failed": "To try again",
    "impossible": "Impossible, as it turned out",
    "reused": "Reused",
    "retired": "Retired, no longer in the file; what they measured stays stored",
}


def difference_counts(found: Difference, num_impossible: int) -> Json:
    """How many trials have each fate; ``num_impossible``: those that the plan leaves out."""
    counts = {fate: found.count(Fate(fate)) for fate in _TITLES}
    return {
        "sweep": found.sweep,
        "stored": found.stored,
        "to_measure": counts["new"] + counts["open"] + counts["failed"],
        **counts,
        "impossible": num_impossible + counts["impossible"],
    }


def difference_rows(found: Difference, num_impossible: int) -> Json:
    """Counts and every trial as one JSON object."""
    trials = [{**change._asdict(), "fate": change.fate.value} for change in found.changes]
    return {**difference_counts(found, num_impossible), "trials": trials}


def difference_table(found: Difference, num_impossible: int) -> RenderableType:
    """One sentence, then for every fate the trials by reason."""
    counts = difference_counts(found, num_impossible)
    parts: list[RenderableType] = [Text(_sentence(counts), style="bold"), Text()]
    reasons = _reasons(found)
    parts += [_table(title, reasons[fate]) for fate, title in _TITLES.items() if reasons[fate]]
    return Group(*parts)


def _sentence(rows: Mapping[str, Any]) -> str:
    measured = counted(rows["to_measure"], "trial")
    fates = f"+{measured}, {rows['reused']:,} reused, {rows['retired']:,} retired"
    impossible = f"; {rows['impossible']:,} impossible (paretoken plan says why)"
    first = "" if rows["stored"] else "; the store has no sweep of this name yet"
    return f"{rows['sweep']}: {fates}{impossible * bool(rows['impossible'])}{first}"


def _reasons(found: Difference) -> defaultdict[str, Reasons]:
    """By fate, without spelling out the trials that are reused as they are."""
    reasons: defaultdict[str, Reasons] = defaultdict(lambda: defaultdict(Counter))
    for (workload, method), count in found.unchanged_methods.items():
        reasons[Fate.REUSED][workload, found.why_unchanged][method] += count
    for change in (*found.changed.values(), *found.retired):
        reasons[change.fate][change.workload, change.why][change.method] += 1
    return reasons


def _table(title: str, reasons: Reasons) -> FittingTable:
    counts = [methods.total() for methods in reasons.values()]
    columns = [
        Column("count", [f"{count:,}" for count in counts]),
        Column("workload", [workload for workload, _ in reasons], justify="left"),
        Column("methods", [some(each) for each in reasons.values()], justify="left", folds=True),
        Column("why", ["; ".join(why) for _, why in reasons], justify="left", folds=True),
    ]
    return FittingTable(f"{title}: {sum(counts):,}", columns)
