"""Tables for the terminal, and the same facts as plain rows for ``--json``.

Everything can be read without colours. Only Rich is imported: commands that look things up answer
at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.cost_tables import COSTS_LEGEND, costs_table
from dashboards.failure_tables import failure_groups, failures_table
from dashboards.fitting import Column, FittingTable
from dashboards.race_tables import saving
from dashboards.rows import Row, by_workload, variant_labels
from dashboards.words import decimals, some
from methods.naming import counted, short
from sweeps.metrics import QUALITY

if TYPE_CHECKING:
    from store.records import Number, SweepStatus
    from store.repository import Store
    from sweeps.plan import Impossible, Plan
    from sweeps.rungs import Price, Suggestions

Json = dict[str, Any]
KeyT = TypeVar("KeyT", bound=tuple[str, ...])
SELDOM = ("weights", "attended", "steps")
"""Costs that are shown where a method has an effect on them."""

_LEGEND = (
    "keep: nominal fraction of tokens kept; tokens, flops, kv, latency: measured, over the "
    "uncompressed model's. quality ± 1 standard error; latency low..high: 95 % interval of its "
    "median over pairs, alone on the device; comp.: the compressor's share of the time. ~: taken "
    "while other trials ran, on no frontier."
)


def frontier_rows(rows: Iterable[Row]) -> list[Json]:
    """Every row as a JSON object."""
    return [row.as_json() for row in rows]


def frontier_table(rows: Sequence[Row]) -> RenderableType:
    """One table per workload with every row given, by rising quality, the frontier's marked ``*``.

    Costs are fractions of the uncompressed model. Workloads whose quality was not measured come
    last, the dearest first.
    """
    judged = by_workload(row for row in rows if row.is_judged)
    costs = by_workload(row for row in rows if not row.is_judged)
    if not rows:
        return Text("No finished trials.")
    tables: list[RenderableType] = [_workload_table(*each) for each in judged.items()]
    tables += [Text(_LEGEND)] if judged else []
    tables += [costs_table(*each) for each in costs.items()]
    return Group(*tables, *([Text(COSTS_LEGEND)] if costs else []))


def _workload_table(workload: str, rows: Sequence[Row]) -> RenderableType:
    best = sum(row.on_frontier for row in rows)
    others = f", {len(rows) - best} others" if len(rows) > best else ""
    title = f"{workload}: {counted(best, 'trial')} on the frontier (*){others}"
    return FittingTable(title, _frontier_columns(sorted(rows, key=_by_quality)))


def _by_quality(row: Row) -> tuple[float, str]:
    return row.point.metrics[QUALITY] or 0.0, row.point.trial


def _frontier_columns(rows: Sequence[Row]) -> list[Column]:
    points = [row.point for row in rows]
    metrics = [point.metrics for point in points]
    labels = variant_labels(points)
    methods = [labels[point.method, point.hyperparameters_json] for point in points]
    return [
        Column("", ["*" if row.on_frontier else " " for row in rows]),
        Column("method", methods, justify="left"),
        Column("keep", [point.keep_label for point in points]),
        Column("tokens", [decimals(m["tokens"]) for m in metrics], 80),
        Column("schedule", [point.schedule for point in points], 85, "left"),
        Column("seed", [str(point.seed) for point in points], 75),
        Column("quality", [_quality(m) for m in metrics]),
        Column("seeds' mean [min..max]", [_over_seeds(row) for row in rows], 50),
        Column("flops", [decimals(m["flops"]) for m in metrics], 95),
        Column("kv", [decimals(m["kv"]) for m in metrics], 95),
        *(
            Column(name, [decimals(m[name]) for m in metrics], 93)
            for name in SELDOM
            if any(m[name] not in (None, 1.0) for m in metrics)
        ),
        Column("latency", [_time(row, "latency") for row in rows], 90),
        Column("low..high", [_latency_range(m) for m in metrics], 40),
        Column("comp.", [_time(row, "compressor_share") for row in rows], 45),
        Column("trial", [short(point.trial) for point in points], 60, "left"),
    ]


def status_rows(store: Store, sweep: str | None = None) -> list[Json]:
    """Every sweep as a JSON object, with what failed in it by kind.

    With a name, only that one, with each trial that failed or was impossible, and its race.

    Raises ValueError for a name that the store does not know.
    """
    from store.questions.untimed import untimed

    chosen = [each for each in store.sweeps() if sweep in (None, each.name)]
    rows = [_status_row(each, len(untimed(store, each.name))) for each in chosen]
    for each, row in zip(chosen, rows, strict=True):
        if sweep is not None or each.failed:
            row["failure_groups"] = failure_groups(each.name, store.failed_attempts(each.name))
    if sweep is not None:
        failures = [*store.failures(sweep), *store.failed_timings(sweep)]
        rows[0]["failures"] = [{**asdict(each), "kind": each.kind.value} for each in failures]
        if store.spec(sweep).get("search", {}).get("strategy") == "race":
            from store.races.race_rows import race_rows

            rows[0]["race"] = race_rows(store, sweep)
    return rows


def _status_row(sweep: SweepStatus, untimed: int) -> Json:
    return {
        **asdict(sweep),
        "open": sweep.planned - sweep.finished - sweep.failed,
        "untimed": untimed,
        "created": sweep.created.isoformat(),
        "updated": sweep.updated.isoformat(),
    }


def status_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """How far each sweep is, and below it what failed, equal errors on one line."""
    if not rows:
        return Text("No sweeps yet: paretoken run FILE")
    counts = ("planned", "finished", "failed", "open", "timed", "untimed", "impossible")
    columns = [
        Column("sweep", [row["name"] for row in rows], justify="left", folds=True),
        *(Column(name, [f"{row[name]:,}" for row in rows]) for name in counts),
        Column("seconds", [_seconds(row["seconds"]) for row in rows], 60),
        Column("utilisation", [decimals(row["utilisation"]) for row in rows], 50),
        Column("updated (UTC)", [_minute(row["updated"]) for row in rows], 70, "left"),
    ]
    groups = [group for row in rows for group in row.get("failure_groups", ())]
    timings = [each for row in rows for each in row.get("failures", ()) if each["timing"]]
    tables: list[RenderableType] = [FittingTable("Sweeps", columns)]
    tables += [failures_table(groups)] if groups else []
    tables += [_timings_table(timings)] if timings else []
    tables += [_race_table(row["race"]) for row in rows if row.get("race")]
    return Group(*tables)


def _race_table(races: Sequence[Mapping[str, Any]]) -> RenderableType:
    """How many configurations of each workload went how far; ``paretoken race`` says why."""
    counts = Counter(
        (race["workload"], str(place["examples"]), _ending(place))
        for race in races
        for place in race["configurations"]
    )
    counted = _counted("Race", ("workload", "examples", "place"), counts)
    return Group(counted, Text(saving(races)))


def _ending(place: Mapping[str, Any]) -> str:
    """A place without its numbers."""
    return str(place["reason"].partition(":")[0].partition(", p=")[0])


def _timings_table(failures: Sequence[Mapping[str, Any]]) -> FittingTable:
    sentences = Counter(
        (f["workload"], f["method"], f["kind"], f["error"].strip().splitlines()[0])
        for f in failures
    )
    return _counted("Failed timings", ("workload", "method", "kind", "error"), sentences)


def plan_rows(plan: Plan, price: Price | Suggestions | None = None) -> Json:
    """Counts, trials and what is impossible as one JSON object; of a race also its price."""
    return {
        **({} if price is None else {"search": asdict(price)}),
        "planned": len(plan.trials),
        "collapsed": plan.collapsed,
        "trials": [
            {
                "workload": trial.workload,
                "trial": trial.spec.id,
                "method": trial.spec.method.id,
                "hyperparameters": trial.spec.method.params,
                "keep_ratio": trial.spec.keep_ratio,
                "keep_label": trial.keep_label,
                "schedule": trial.spec.schedule.label,
                "seed": trial.spec.seed,
            }
            for trial in plan.trials
        ],
        "impossible": [each._asdict() for each in plan.impossible],
    }


def plan_table(plan: Plan, price: Price | Suggestions | None = None) -> RenderableType:
    """Trials per workload and method, then what is impossible, equal reasons on one line."""
    counts = Counter((trial.workload, trial.spec.method.id) for trial in plan.trials)
    note = counted(len(plan.trials), "trial") + (
        f"; {plan.collapsed:,} combinations more are the same as one of them" * bool(plan.collapsed)
    )
    planned = _counted("Planned trials", ("workload", "method"), counts)
    parts: list[RenderableType] = [*[planned] * bool(counts), Text(note)]
    parts += [Text(line) for line in (price.sentences if price else ())]
    if plan.impossible:
        parts.append(_impossible_table(plan.impossible))
    return Group(*parts)


def _impossible_table(impossible: Sequence[Impossible]) -> FittingTable:
    methods: dict[tuple[str, str], dict[str, None]] = {}
    for each in impossible:
        methods.setdefault((each.workload, each.reason), {})[each.method] = None
    counts = Counter((each.workload, each.reason) for each in impossible)
    grouped = Counter(
        {(key[0], some(methods[key]), key[1]): count for key, count in counts.items()}
    )
    title = f"Impossible: {counted(len(impossible), 'combination')}"
    return _counted(title, ("workload", "methods", "reason"), grouped)


def _counted(title: str, headings: Sequence[str], counts: Counter[KeyT]) -> FittingTable:
    """One line per key; the last column holds sentences."""
    columns = [Column("count", [f"{count:,}" for count in counts.values()])]
    for index, heading in enumerate(headings):
        cells = [key[index] for key in counts]
        folds = index == len(headings) - 1
        columns.append(Column(heading, cells, justify="left", folds=folds))
    return FittingTable(title, columns)


def _quality(metrics: Mapping[str, Number | None]) -> str:
    return f"{decimals(metrics[QUALITY])} ±{decimals(metrics['quality_se'])}"


def _over_seeds(row: Row) -> str:
    spread = row.group.spread[QUALITY]
    if spread is None or len(row.group.seeds) < 2:
        return ""
    return f"{spread.mean:.3f} [{spread.low:.3f}..{spread.high:.3f}]"


def _time(row: Row, name: str) -> str:
    mark = "~" if name in row.point.outside_lane else ""
    written = decimals(row.point.metrics[name])
    return f"{mark}{written}" if written else ""


def _latency_range(metrics: Mapping[str, Number | None]) -> str:
    low, high = metrics["latency_low"], metrics["latency_high"]
    return "" if low is None or high is None else f"{low:.2f}..{high:.2f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")
