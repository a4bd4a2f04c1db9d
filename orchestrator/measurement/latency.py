"""How long a compressed run takes beside an uncompressed one: pairs, their median, its interval.

The interval of a median needs no assumption about how times are distributed: between the k-th
smallest and the k-th largest of n independent values it lies with probability
1 - 2 P(Binomial(n, 1/2) < k) (David and Nagaraja 2003, *Order Statistics*, sec. 7.1). The number of
pairs is fixed beforehand: to stop as soon as an interval looks narrow makes it less sure than it
says.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

CONFIDENCE: Final = 0.95
Timed = Callable[[], float]
"""A run that returns the seconds it took."""


@dataclass(frozen=True)
class Interval:
    """Where a median lies."""

    low: float
    high: float
    confidence: float
    """Its exact coverage; below :data:`CONFIDENCE` where there are too few values."""


@dataclass(frozen=True)
class PairedLatency:
    """Alternating runs of a baseline and a variant, in one process; wall times in seconds."""

    baseline: tuple[float, ...]
    variant: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Variant / baseline of every pair."""
        return [ours / theirs for ours, theirs in zip(self.variant, self.baseline, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the pairs' ratios; below 1 the variant is faster."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> Interval:
        """Where the median of all ratios lies that could be drawn."""
        return median_interval(self.ratios)


def measure_latency(baseline: Timed, variant: Timed, pairs: int) -> PairedLatency:
    """Both in turn, ``pairs`` >= 1 times; each has been run before.

    The order within a pair alternates, so that a drifting clock favours neither.
    """
    taken: dict[Timed, list[float]] = {baseline: [], variant: []}
    for pair in range(pairs):
        for run in (baseline, variant) if pair % 2 == 0 else (variant, baseline):
            taken[run].append(run())
    return PairedLatency(tuple(taken[baseline]), tuple(taken[variant]))


def median_interval(values: Sequence[float]) -> Interval:
    """The narrowest symmetric interval by order with :data:`CONFIDENCE` or more; else the range."""
    ordered, n = sorted(values), len(values)
    k = max((k for k in range(1, n // 2 + 1) if coverage(n, k) >= CONFIDENCE), default=1)
    return Interval(ordered[k - 1], ordered[n - k], coverage(n, k))


def coverage(n: int, k: int) -> float:
    """Probability that a median lies between the k-th smallest and the k-th largest of n."""
    tail = sum(math.comb(n, fewer) for fewer in range(k)) / 2.0**n
    return float(max(0.0, 1 - 2 * tail))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values lies below, interpolated."""
    return float(np.quantile(values, share))


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call takes: by CUDA events on a GPU, which see when it is done, or by a clock."""
    if device.type == "cuda":
        return _cuda_seconds(call)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cuda_seconds(call: Callable[[], Any]) -> float:
    events: Any = torch.cuda.Event
    start, end = (events(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
