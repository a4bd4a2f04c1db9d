"""What every number of a trial is: one table, which files, frontiers, tables and pages read.

The numbers themselves are :class:`sweeps.trial.Metrics` and :class:`sweeps.times.Times`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Direction = Literal["maximize", "minimize"]
Role = Literal["quality", "cost", "evidence", "condition", "detail"]
"""What a trial is judged by; what it takes, and a request may limit; how much is known about both;
what it was compared with; and what is no single number."""

QUALITY: Final = "quality"


@dataclass(frozen=True, slots=True)
class Metric:
    """One field of the metrics."""

    role: Role
    words: str
    """For people, without "of the uncompressed model's"."""
    objective: str | None = None
    """What it means in a sweep file; None where no frontier is taken over it."""
    relative: bool = False
    """Whether it is a fraction of the uncompressed baseline's; otherwise it is absolute."""
    direction: Direction = "minimize"
    """Which values are better; for the quality its task may say otherwise."""
    of_cache: bool = False
    """Whether a model without a key/value cache has none."""


METRICS: Final[dict[str, Metric]] = {
    QUALITY: Metric(
        "quality", "quality", "Mean outcome of the task's examples.", direction="maximize"
    ),
    "quality_se": Metric("evidence", "standard error of the quality"),
    "num_examples": Metric("evidence", "examples", direction="maximize"),
    "tokens": Metric(
        "cost",
        "tokens",
        "Tokens entering the layers (or held by the caches), over the baseline's.",
        relative=True,
    ),
    "tokens_per_layer": Metric("detail", "tokens per layer"),
    "flops": Metric(
        "cost",
        "FLOPs",
        "Floating-point operations, the compressor's included, over the baseline's.",
        relative=True,
    ),
    "flops_per_example": Metric(
        "cost", "FLOPs per example", "Floating-point operations of one example."
    ),
    "kv": Metric(
        "cost",
        "KV-cache bytes",
        "Bytes of keys and values held, over the baseline's.",
        relative=True,
        of_cache=True,
    ),
    "kv_bytes": Metric(
        "cost",
        "KV-cache bytes per sequence",
        "Bytes of keys and values held for one sequence.",
        of_cache=True,
    ),
    "weights": Metric(
        "cost", "weight bytes", "Bytes of the weights as held, over the baseline's.", relative=True
    ),
    "weight_bytes": Metric("cost", "bytes of weights", "Bytes of the weights as held."),
    "attended": Metric(
        "cost",
        "attended cache entries",
        "Cache entries that decoding steps read, over those they could have read.",
        relative=True,
    ),
    "steps": Metric(
        "cost",
        "forward passes per token",
        "Forward passes per new token, over the baseline's.",
        relative=True,
    ),
    "peak_memory": Metric(
        "cost",
        "peak memory",
        "Largest sum of live tensor bytes, weights excluded, over the baseline's.",
        relative=True,
    ),
    "peak_bytes": Metric(
        "cost", "peak memory in bytes", "Largest sum of live tensor bytes, weights excluded."
    ),
    "compressor_seconds": Metric(
        "cost", "compressor's time in seconds", "Time in the method itself per example."
    ),
    "compressor_share": Metric(
        "cost", "compressor's share of the time", "The compressor's share of the forward pass."
    ),
    "latency": Metric(
        "cost", "latency", "Wall time over the baseline's, median of pairs.", relative=True
    ),
    "latency_low": Metric("cost", "latency, low end", relative=True),
    "latency_high": Metric("cost", "latency, high end", relative=True),
    "latency_confidence": Metric(
        "evidence", "confidence of the latency's interval", direction="maximize"
    ),
    "latency_pairs": Metric("evidence", "timed pairs", direction="maximize"),
    "latency_seconds": Metric("cost", "latency in seconds", "Median wall time per example."),
    "latency_p95": Metric(
        "cost",
        "p95 latency",
        "95th percentile of the wall time over the baseline's.",
        relative=True,
    ),
    "latency_p95_seconds": Metric(
        "cost", "p95 latency in seconds", "95th percentile of the wall time per example."
    ),
    "baseline_seconds": Metric("condition", "baseline's latency in seconds"),
    "device_memory": Metric(
        "cost",
        "device memory",
        "Peak memory of a run on a GPU over the baseline's.",
        relative=True,
    ),
    "device_bytes": Metric("cost", "device memory in bytes", "Peak memory of a run on a GPU."),
    "energy": Metric(
        "cost",
        "energy",
        "Energy over the baseline's, where the device reports it.",
        relative=True,
    ),
    "energy_joules": Metric(
        "cost", "energy in joules", "Energy per example, where the device reports it."
    ),
    "simulated": Metric("detail", "costs that are only simulated"),
}
"""By the names of the fields of :class:`sweeps.trial.Metrics`."""

OBJECTIVES: Final = {name: each.objective for name, each in METRICS.items() if each.objective}
"""Metrics that a frontier can be taken over, and what they mean."""
FRACTIONS: Final = {
    name: each.words for name, each in METRICS.items() if each.relative and each.objective
}
"""Costs that are fractions of the uncompressed model's and can be objectives, in words."""
