"""Under which conditions a sweep was measured, what failed, and how to measure it again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from dashboards.report.citations import references, used
from dashboards.report.document import (
    Block,
    Cell,
    Facts,
    Grid,
    Listing,
    Prose,
    References,
    Section,
)
from dashboards.report.evidence import Evidence
from dashboards.rows import Row
from methods.naming import short
from store.records import EnvironmentUse

READING = (
    "The keep ratio is the nominal fraction of tokens kept; what was really kept, and what it "
    "costs, is measured. Costs named flops, kv, tokens, weights, attended, steps, peak memory and "
    "latency are fractions of the uncompressed model's, measured on the same examples.",
    "Latency is taken in pairs with the uncompressed model, alone on the device; times from "
    "elsewhere, and savings that are only simulated, are on no frontier over them.",
    "Quality is compared example by example: intervals and probabilities come from resampling "
    "examples (in clusters where they hang together), the same ones for every configuration.",
)
"""How the numbers are meant."""


def workloads_table(evidence: Evidence) -> Grid:
    """What was measured on what."""
    headings = ("workload", "task", "examples", "data", "model", "weights", "seeds", "trials")
    rows = [_workload(name, evidence.of(name)) for name in evidence.measured]
    return Grid("What was measured", headings, rows, "llrlllrr")


def _workload(name: str, rows: Sequence[Row]) -> list[str]:
    specs = [row.point.spec for row in rows]
    task = specs[0]["task"]
    models = [spec["backbone"] for spec in specs]
    return [
        name,
        f"{task['id']} (version {task['version']})",
        _span({int(row.point.metrics["num_examples"] or 0) for row in rows}),
        _listed(short(spec["data"]) for spec in specs),
        _listed(f"{model['name']} ({model['dtype']})" for model in models),
        _listed(short(model.get("fingerprint", "random")) for model in models),
        _listed(str(row.point.seed) for row in rows),
        f"{len(rows):,}",
    ]


def failures(evidence: Evidence) -> Section:
    """Everything that gave no numbers, with the reason."""
    blocks: list[Block] = []
    if evidence.failures:
        headings = ("kind", "attempts", "trials now", "methods", "cause", "what to do")
        rows = [_failure(group) for group in evidence.failures]
        blocks.append(Grid("Failed attempts, by kind and cause", headings, rows, "lrllll"))
    if evidence.impossible:
        blocks.append(_impossible(evidence.impossible))
    return Section("What gave no numbers", blocks or [Prose(["Nothing failed."])])


def _failure(group: Mapping[str, Any]) -> list[str]:
    states = ", ".join(f"{count:,} {state}" for state, count in group["trials"].items())
    methods = ", ".join(group["methods"])
    return [group["kind"], str(group["attempts"]), states, methods, group["cause"], group["advice"]]


def _impossible(combinations: Sequence[Mapping[str, Any]]) -> Grid:
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for each in combinations:
        counted = reasons.setdefault((each["workload"], each["reason"]), Counter())
        counted[each["method"]] += 1
    rows = [
        [workload, f"{methods.total():,}", ", ".join(methods), reason]
        for (workload, reason), methods in reasons.items()
    ]
    title = f"Combinations of the file that cannot run: {len(combinations):,}"
    return Grid(title, ("workload", "count", "methods", "reason"), rows, "lrll")


def methods(evidence: Evidence) -> Section:
    """Methods with their papers, and BibTeX to cite them."""
    points = [row.point for row in evidence.rows]
    papers = references(points)
    cited = {method: paper.cite for paper in papers for method in paper.methods}
    names = sorted({name for point in points for name in used(point)})
    trials = Counter(name for point in points for name in used(point))
    rows: list[list[Cell]] = [[name, cited.get(name, ""), f"{trials[name]:,}"] for name in names]
    table = Grid("Methods", ("method", "paper", "trials"), rows, "llr")
    return Section("Methods and their papers", [table, References(papers)])


def surroundings(evidence: Evidence) -> Section:
    """Hardware and versions."""
    blocks: list[Block] = [Facts(_described(use)) for use in evidence.environments]
    alone = [row.point for row in evidence.rows if row.point.in_lane]
    if alone:
        disturbed = sum(bool(point.disturbed) for point in alone)
        facts = {
            "timed on": _listed(sorted({point.device or "" for point in alone})),
            "timed alone": f"{len(alone):,} of {len(evidence.rows):,} trials, {disturbed:,} of "
            "which something else on the machine may have disturbed",
        }
        blocks.append(Facts(facts))
    return Section("Hardware and versions", blocks)


def _described(use: EnvironmentUse) -> dict[str, str]:
    first, last = (moment.strftime("%Y-%m-%d %H:%M") for moment in (use.first, use.last))
    when = {"trials": f"{use.trials:,}", "measured (UTC)": f"{first} to {last}"}
    return when | {name: _value(value) for name, value in use.content.items()}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def again(evidence: Evidence) -> Section:
    """How to measure all of it, or one number of it, once more."""
    name = evidence.status.name
    best = next((row for row in evidence.rows if row.on_frontier), evidence.rows[0])
    commands = [
        f"paretoken plan {name}.yaml",
        f"paretoken run {name}.yaml",
        f"paretoken frontier {name}",
        f"paretoken reproduce {best.point.trial}",
    ]
    resolved = yaml.safe_dump(evidence.spec, sort_keys=False, allow_unicode=True, width=96)
    return Section(
        "How to reproduce it",
        [
            Prose(
                [
                    f"Save the resolved sweep below as {name}.yaml. The first three commands plan, "
                    "measure and compare; the last measures one trial again from the database "
                    "and says which conditions and numbers differ.",
                ]
            ),
            Listing("Commands", "\n".join(commands) + "\n", "console"),
            Listing(f"{name}.yaml, with every default spelt out", resolved, "yaml"),
        ],
    )


def _listed(texts: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _span(numbers: set[int]) -> str:
    return "..".join(str(number) for number in sorted({min(numbers), max(numbers)}))
