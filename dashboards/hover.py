"""The words that appear when the pointer rests on a point of the interactive frontier."""

from __future__ import annotations

import html as markup

from dashboards.panels import COSTS
from dashboards.rows import Row


def explain(row: Row) -> str:
    """Everything that is known about a point, for people."""
    point, metrics = row.point, row.point.metrics
    chosen = [f"{name} = {value}" for name, value in point.hyperparameters.items()]
    costs = [f"{words}: {percent(metrics.get(name))}" for name, words in COSTS.items()]
    low, high = metrics.get("latency_low"), metrics.get("latency_high")
    spread = f" ({percent(low)} to {percent(high)})" if low is not None else ""
    lines = [
        f"{point.method} on {point.workload}" + " (on the frontier)" * row.on_frontier,
        *chosen,
        f"keep {point.keep_label} (nominal {point.keep_ratio:.4g})",
        f"schedule {point.schedule}, seed {point.seed}",
        f"quality: {amount(metrics['quality'])} ± {amount(metrics['quality_se'])}",
        *costs[:-1],
        costs[-1] + spread,
        f"compressor's share of the time: {percent(metrics.get('compressor_share'))}",
        *(f"{name}: {value:,.6g}" for name, value in _absolute(row)),
        f"tokens per layer: {point.tokens_per_layer}",
        f"trial {point.trial}",
    ]
    first, *rest = (markup.escape(line) for line in lines)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _absolute(row: Row) -> list[tuple[str, float]]:
    names = ("flops_per_example", "kv_bytes", "peak_bytes", "compressor_seconds", "latency_seconds")
    found = ((name.replace("_", " "), row.point.metrics.get(name)) for name in names)
    return [(name, float(value)) for name, value in found if value is not None]


def amount(value: float | None) -> str:
    """A quality for people: a share, or in the unit of its task."""
    return "not measured" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A fraction for people."""
    return "not measured" if value is None else f"{100 * value:.4g}%"
