"""The words that appear when the pointer rests on a point of the interactive frontier."""

from __future__ import annotations

import html as markup

from dashboards.rows import Row
from sweeps.metrics import FRACTIONS, METRICS


def explain(row: Row) -> str:
    """Everything that is known about a point, for people."""
    point, metrics = row.point, row.point.metrics
    chosen = [f"{name} = {value}" for name, value in point.hyperparameters.items()]
    costs = [
        f"{words}: {percent(metrics.get(name))}" + _spread(row) * (name == "latency")
        for name, words in FRACTIONS.items()
    ]
    lines = [
        f"{point.method} on {point.workload}" + " (on the frontier)" * row.on_frontier,
        *chosen,
        f"keep {point.keep_label} (nominal {point.keep_ratio:.4g})",
        f"schedule {point.schedule}, seed {point.seed}",
        f"quality: {amount(metrics['quality'])} ± {amount(metrics['quality_se'])}",
        *costs,
        f"compressor's share of the time: {percent(metrics.get('compressor_share'))}",
        *(f"{name}: {value:,.6g}" for name, value in _absolute(row)),
        f"tokens per layer: {point.tokens_per_layer}",
        f"trial {point.trial}",
    ]
    first, *rest = (markup.escape(line) for line in lines)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _spread(row: Row) -> str:
    """The interval of a point's latency; nothing without one."""
    low, high = (row.point.metrics.get(f"latency_{end}") for end in ("low", "high"))
    return "" if low is None else f" ({percent(low)} to {percent(high)})"


def _absolute(row: Row) -> list[tuple[str, float]]:
    names = ("flops_per_example", "kv_bytes", "peak_bytes", "compressor_seconds", "latency_seconds")
    found = ((METRICS[name].words, row.point.metrics.get(name)) for name in names)
    return [(name, float(value)) for name, value in found if value is not None]


def amount(value: float | None) -> str:
    """A quality for people: a share, or in the unit of its task."""
    return "not measured" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A fraction for people."""
    return "not measured" if value is None else f"{100 * value:.4g}%"
