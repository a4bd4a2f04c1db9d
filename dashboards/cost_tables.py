"""Tables of workloads that measured costs alone: nothing is better or worse, only cheaper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dashboards.fitting import Column, FittingTable
from dashboards.rows import Row, variant_labels
from dashboards.words import decimals, size
from methods.naming import counted, short

if TYPE_CHECKING:
    from store.records import Number, Point

COSTS_LEGEND = (
    "Costs alone, the dearest first; without quality there is no frontier. flops, kv, memory "
    "(tensors, no weights) and latency over the uncompressed model's; absolute ones per example."
)
_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def costs_table(workload: str, rows: Sequence[Row]) -> FittingTable:
    """Every row given, by falling cost: bytes of the cache where there is one, then operations."""
    ordered = sorted(rows, key=_by_cost)
    points = [row.point for row in ordered]
    metrics = [point.metrics for point in points]
    labels = variant_labels(points)
    methods = [labels[point.method, point.hyperparameters_json] for point in points]
    model = ", ".join(dict.fromkeys(str(point.spec["backbone"]["name"]) for point in points))
    columns = [
        Column("method", methods, justify="left"),
        Column("keep", [point.keep_label for point in points]),
        Column("tokens", [decimals(m["tokens"]) for m in metrics], 80),
        Column("schedule", [point.schedule for point in points], 75, "left"),
        Column("seed", [str(point.seed) for point in points], 45),
        Column("flops", [decimals(m["flops"]) for m in metrics]),
        Column("FLOPs", [_scaled(m["flops_per_example"]) for m in metrics], 90),
        Column("kv", [decimals(m["kv"]) for m in metrics]),
        Column("cache", [size(m["kv_bytes"]) for m in metrics], 90),
        Column("memory", [decimals(m["peak_memory"]) for m in metrics], 85),
        Column("peak", [size(m["peak_bytes"]) for m in metrics], 70),
        Column("latency", [_timed(p, "latency") for p in points], 95),
        Column("comp.", [_timed(p, "compressor_share") for p in points], 50),
        Column("trial", [short(point.trial) for point in points], 40, "left"),
    ]
    title = f"{workload}: costs of {counted(len(rows), 'trial')}, {model}"
    return FittingTable(title, columns)


def _by_cost(row: Row) -> tuple[float, float, str]:
    metrics = row.point.metrics
    return -(metrics["kv_bytes"] or 0), -(metrics["flops_per_example"] or 0), row.point.trial


def _timed(point: Point, name: str) -> str:
    """Nothing where other trials ran meanwhile."""
    return "" if name in point.outside_lane else decimals(point.metrics[name])


def _scaled(value: Number | None) -> str:
    if value is None:
        return ""
    step, letter = next((each for each in _STEPS if value >= each[0]), (1, ""))
    return f"{value / step:.3g} {letter}".strip()
