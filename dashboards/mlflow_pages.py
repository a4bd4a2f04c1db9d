"""What MLflow shows of a sweep as a whole, made from the store when a run of it has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Final

import yaml

from dashboards.mlflow_view import views
from dashboards.rows import Row, by_workload, variant_labels
from dashboards.words import decimals
from store.mirror.sweep_page import SweepPage
from store.questions.standing import Standing, standings, volumes
from store.records import SweepStatus
from store.repository import Store
from sweeps.trial import BASELINE

FRONTS: Final = 5
"""Trials on so many fronts are ranked in MLflow; of thousands, the others are never asked for."""
_LIKELY: Final = 0.005
_LONGEST: Final = 12
"""Lines of a workload's frontier in the note."""


def sweep_page(
    store: Store,
    sweep: str,
    rows: Sequence[Row],
    files: Sequence[Path],
    trial_tags: Mapping[str, Mapping[str, str]],
) -> SweepPage:
    """Note, fronts, volumes, the examples of the frontier, environments and the resolved sweep."""
    status = next(each for each in store.sweeps() if each.name == sweep)
    standing = standings(store, sweep)
    leading = {trial: each for trial, each in standing.items() if _leads(each)}
    return SweepPage(
        at=status.updated,
        leading=leading,
        others={trial: each for trial, each in standing.items() if trial not in leading},
        metrics={f"hypervolume/{name}": volume for name, volume in volumes(store, sweep).items()},
        note=_note(status, rows),
        files=files,
        texts=dict(_texts(store, sweep, rows)),
        trial_tags=trial_tags,
        views=views(sweep, store.objectives(sweep), status.created),
    )


def _leads(standing: Standing) -> bool:
    return 0 < standing.rank <= FRONTS or (standing.probability or 0) >= _LIKELY


def _texts(store: Store, sweep: str, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    resolved = yaml.safe_dump(store.spec(sweep), sort_keys=False, allow_unicode=True)
    yield "sweep.resolved.yaml", resolved
    used = [{"trials": use.trials, **use.content} for use in store.environments(sweep)]
    yield "environments.json", json.dumps(used, indent=2)
    for workload, members in by_workload(rows).items():
        yield f"examples/{workload}.csv", _examples(store, members)


def _examples(store: Store, rows: Sequence[Row]) -> str:
    """Outcome of every example under the uncompressed model and the frontier, mean over seeds."""
    import pandas as pd

    shown = [r for r in rows if r.is_judged and (r.on_frontier or r.point.method == BASELINE)]
    labels = variant_labels(row.point for row in rows)
    outcomes = store.all_outcomes(trial for row in shown for trial in row.group.trials)
    columns = {}
    for group in {id(row.group): row.group for row in shown}.values():
        label = labels[group.method, group.hyperparameters_json]
        by_seed = [outcomes[trial].values for trial in group.trials]
        means = [fmean(values) for values in zip(*by_seed, strict=False)]
        columns[f"{label} {group.keep_label} {group.schedule}"] = pd.Series(means)
    buffer = StringIO()
    pd.DataFrame(columns).to_csv(buffer, index_label="example", float_format="%.6g")
    return buffer.getvalue()


def _note(status: SweepStatus, rows: Sequence[Row]) -> str:
    """What was found, for who opens the run first."""
    lines = [
        f"**{status.finished:,}** of {status.planned:,} trials finished, {status.failed:,} failed; "
        f"{status.impossible:,} combinations of the file cannot run.",
        "",
    ]
    for workload, members in by_workload(rows).items():
        lines += [*_frontier(workload, [row for row in members if row.on_frontier]), ""]
    lines += [
        "Costs are fractions of the uncompressed model's. Filter the trials with "
        "`tags.on_frontier = 'true'`, `metrics.pareto_rank <= 2`, `tags.family`, `tags.method`, "
        "`tags.keep_ratio`, `tags.workload` or `tags.paper`; only trials on the first "
        f"{FRONTS} fronts have a rank. `paretoken report {status.name}` writes all of it down.",
    ]
    return "\n".join(lines)


def _frontier(workload: str, best: Sequence[Row]) -> Iterator[str]:
    yield f"### {workload}"
    yield ""
    yield "| method | keep | schedule | seed | quality | tokens | FLOPs | KV |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    labels = variant_labels(row.point for row in best)
    ordered = sorted(best, key=lambda row: -(row.point.metrics["quality"] or 0))
    for row in ordered[:_LONGEST]:
        point = row.point
        costs = (point.metrics[name] for name in ("quality", "tokens", "flops", "kv"))
        cells = [
            labels[point.method, point.hyperparameters_json],
            point.keep_label,
            point.schedule,
            str(point.seed),
            *map(decimals, costs),
        ]
        yield f"| {' | '.join(cells)} |"
    if len(ordered) > _LONGEST:
        yield ""
        yield f"and {len(ordered) - _LONGEST:,} more."
