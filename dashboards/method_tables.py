"""Methods for the terminal: the listing, family by family, and the page of one method.

Only Rich is imported. Rows are those of the listing, ready for ``--json``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable, properties

Row = Mapping[str, Any]
SHOWN_KEEP: Final = "0.25"
"""The budget whose comparison with random tokens the listing shows."""

_CODE: Final = {
    "none public": "no code public",
    "not found": "code not found",
    "read elsewhere": "reimplementation read",
    "used": "authors' code at work",
}
_EVIDENCE = (
    "evidence: the part of the paper that is implemented, ✓ if a test checks it against a slow, "
    "plain version; the authors' code; kvpress keeps the same. "
)
_BESIDE = f"beside random tokens at keep {SHOWN_KEEP}: gain in mean outcome, p, task. "
_TIER = "tier: effort, 1 least. All with --json, one with its id."


def methods_table(rows: Sequence[Row]) -> RenderableType:
    """One table per family with the methods given, then families that are only planned."""
    families: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        families.setdefault((row["family"], row["status"]), []).append(row)
    if not families:
        return Text("Methods: none")
    counts = Counter(row["status"] for row in rows)
    counted = ", ".join(f"{number} {status}" for status, number in counts.items())
    tables = [_family_table(*key, members) for key, members in families.items()]
    title = Text(f"Methods: {counted}\n", style="bold")
    return Group(title, *tables, *_tasks_of(rows), Text(_legend(rows)))


def _legend(rows: Sequence[Row]) -> str:
    """What the columns mean that these rows fill."""
    evidence = _EVIDENCE * any(row["fidelity"] for row in rows)
    return evidence + _BESIDE * any(row["measured"] for row in rows) + _TIER


def evidence_text(row: Row) -> str:
    """What speaks for a method, in one line."""
    fidelity = row["fidelity"]
    if fidelity is None:
        return "nothing written down yet" if row["paper"] else f"no paper: {row['summary']}"
    parts = [
        fidelity["equation"] + " ✓" * (fidelity["test"] is not None),
        _CODE.get(fidelity["code"], f"code {fidelity['code']}"),
        fidelity["kvpress"] and f"kvpress {fidelity['kvpress']}",
        _beside_random(row["measured"]),
    ]
    return ", ".join(part for part in parts if part)


def method_page(row: Row) -> RenderableType:
    """One method, a line for each of its properties; what is not known is left out."""
    return properties(_page_lines(row))


def comparison_text(comparison: Row) -> str:
    """One comparison with random tokens, in words."""
    params = f" {comparison['params']}" if comparison["params"] else ""
    return (
        f"{comparison['workload']} ({comparison['sweep']}), keep {comparison['keep']}, "
        f"{comparison['schedule']}{params}: {_signed(comparison['difference'])} "
        f"({comparison['quality']:.3f}, random {comparison['random']:.3f}), "
        f"p{_p(comparison['p'])} over {comparison['examples']} examples, better in "
        f"{comparison['wins']} of {comparison['seeds']} seeds"
    )


def _family_table(family: str, status: str, rows: Sequence[Row]) -> FittingTable:
    columns = [
        Column("id", [row["id"] for row in rows], justify="left"),
        Column("tier", [str(row["tier"] or "") for row in rows]),
        Column("training", [_short(row["training"]) for row in rows], justify="left"),
        Column("place", [" ".join(row["places"]) for row in rows], justify="left"),
    ]
    heading, text_of = _LAST[status]
    last = Column(heading, [text_of(row) for row in rows], justify="left", folds=True)
    return FittingTable(f"{family}: {len(rows)} {status}", [*columns, last])


def _summary(row: Row) -> str:
    masks = " Only masks: its savings are simulated." if row["simulated"] else ""
    return f"{row['summary']}{masks}"


def _paper(row: Row) -> str:
    return str(row["paper"])


_LAST: Final[Mapping[str, tuple[str, Callable[[Row], str]]]] = {
    "implemented": ("evidence", evidence_text),
    "external": ("what it does", _summary),
    "planned": ("paper", _paper),
}
"""The last column of a family's table, by status."""


def _tasks_of(rows: Sequence[Row]) -> list[RenderableType]:
    """Which shipped tasks the places mean."""
    tasks: dict[tuple[str, ...], dict[str, None]] = {}
    for row in rows:
        if len(row["places"]) == 1:
            tasks.setdefault(tuple(row["workloads"]), {})[row["places"][0]] = None
    return [
        Text(f"tasks for {', '.join(places)}: {', '.join(names)}")
        for names, places in tasks.items()
        if names
    ]


def _page_lines(row: Row) -> dict[str, str]:
    fidelity = row["fidelity"] or {}
    own = row.get("hyperparameters", {})
    return {
        "method": f"{row['id']} ({row['family']}, {row['status']})",
        "what": row["summary"] or "",
        "paper": row["paper"] or "",
        "arXiv": f"https://arxiv.org/abs/{row['arxiv']}" if row["arxiv"] else "",
        "equation": fidelity.get("equation", ""),
        "code": ", ".join(filter(None, [row["code"], fidelity.get("code")])),
        "our reading": fidelity.get("reading") or "",
        "equation's test": fidelity.get("test") or "",
        "property's test": fidelity.get("property") or "",
        "kvpress": fidelity.get("kvpress") or "",
        "beside random": "\n".join(map(comparison_text, row["measured"])),
        "tier, training": f"{row['tier'] or '-'}, {row['training']}",
        "place": ", ".join(row["places"]),
        "simulated": _simulated(row["simulated"]),
        "tasks": ", ".join(row["workloads"]),
        "paper's schedule": row.get("schedule", ""),
        "needs": ", ".join(row.get("needs", [])),
        "hyperparameters": "\n".join(f"{name} = {text}" for name, text in own.items()),
        "yaml": row.get("yaml", ""),
        "environment": row.get("environment") or "",
        "about": row.get("about", ""),
    }


def _simulated(metrics: Sequence[str]) -> str:
    """Costs that no frontier takes from this method."""
    return f"{', '.join(metrics)}: on no frontier over them" if metrics else ""


def _beside_random(comparisons: Sequence[Row]) -> str:
    """The first workload's comparison and in how many the method is significantly better."""
    shown = [each for each in comparisons if each["keep"] == SHOWN_KEEP]
    if not shown:
        return ""
    first = shown[0]
    text = f"{_signed(first['difference'])} p{_p(first['p'])} {first['workload']}"
    better = sum(each["difference"] > 0 and each["p"] < 0.05 for each in shown)
    return text if len(shown) == 1 else f"{text} (better in {better} of {len(shown)})"


def _signed(difference: float) -> str:
    return f"{difference:+.2f}".replace("0.", ".")


def _p(p: float) -> str:
    return f"<1e{math.ceil(math.log10(p))}" if 0 < p < 0.001 else f"={p:.2g}"


def _short(training: str) -> str:
    return training.replace("training-", "").replace("-training", "")
