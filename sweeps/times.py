"""Numbers that depend on the machine's mood: times, and what only a device can tell.

Everything else that a trial measures is the same bits everywhere. These are taken in the
*measurement lane*: alone on a device that no other trial uses at that moment, the uncompressed
model and the compressed one in turn. Numbers that were taken outside it are kept, marked, and enter
no frontier.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Times(BaseModel):
    """What timing one batch of examples gave; None is not measured.

    A bare name is the fraction of the uncompressed baseline in the same process; a name with a unit
    is absolute, and for one example of the batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency: float | None = None
    """Median over pairs of compressed / baseline wall time."""
    latency_low: float | None = None
    latency_high: float | None = None
    """Ends of the median's interval, from the order of the pairs' ratios."""
    latency_confidence: float | None = None
    """How sure that interval is, in [0, 1]: at least 0.95 from six pairs on."""
    latency_pairs: int | None = None
    """Pairs of runs behind the latencies."""
    latency_p95: float | None = None
    """95th percentile of the compressed runs over that of the baseline's; with fewer than 20 pairs
    it is close to the slowest run of each."""
    latency_seconds: float | None = None
    """Median of the compressed runs."""
    latency_p95_seconds: float | None = None
    """95th percentile of the compressed runs."""
    baseline_seconds: float | None = None
    """Median of the uncompressed runs."""
    compressor_seconds: float | None = None
    """Time in the method itself; outside the lane over the whole evaluation."""
    compressor_share: float | None = None
    """The compressor's share of the compressed runs."""
    device_memory: float | None = None
    """Peak of what a GPU's allocator gave to a run beyond what it held before, over the baseline's;
    None on a CPU."""
    device_bytes: int | None = None
    """The same in bytes, of the compressed run."""
    energy: float | None = None
    """Energy over the baseline's, where the device reports it."""
    energy_joules: float | None = None


TIME_METRICS = frozenset(Times.model_fields)
"""Metrics that only the measurement lane can take; all others are the same bits everywhere."""
