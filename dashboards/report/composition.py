"""A report's sections, in the order in which a reviewer asks."""

from __future__ import annotations

from dashboards.report import conditions, findings
from dashboards.report.document import Block, Document, Facts, Prose, Section
from dashboards.report.evidence import Evidence


def composed(evidence: Evidence) -> Document:
    """The whole report. Imports torch for the papers, Matplotlib for the figures."""
    status = evidence.status
    return Document(
        title=f"Sweep {status.name}",
        subtitle=str(evidence.spec.get("description") or "Quality against cost, and the frontier"),
        sections=[
            Section("Summary", list(_summary(evidence))),
            *(findings.workload(evidence, name) for name in evidence.measured),
            conditions.failures(evidence),
            conditions.methods(evidence),
            conditions.surroundings(evidence),
            conditions.again(evidence),
            Section("How to read the numbers", [Prose(conditions.READING)]),
        ],
    )


def _summary(evidence: Evidence) -> list[Block]:
    status = evidence.status
    open_ = status.planned - status.finished - status.failed
    facts = {
        "trials": f"{status.finished:,} finished of {status.planned:,} planned, "
        f"{status.failed:,} failed, {open_:,} open",
        "impossible": f"{status.impossible:,} combinations of the file cannot run",
        "last run": "" if status.seconds is None else f"{status.seconds:,.0f} s of wall time",
        "updated (UTC)": status.updated.strftime("%Y-%m-%d %H:%M"),
    }
    choice = findings.recommended(evidence)
    table = conditions.workloads_table(evidence)
    return [Facts({k: v for k, v in facts.items() if v}), table, *([choice] * bool(choice.rows))]
