"""How many trials a worker gets at a time, by how long the last ones took; knows nothing of Ray."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

PREFETCH_BELOW_SECONDS = 2.0
"""Longer trials are not queued behind another: the gap saved is nothing to them, and one could wait
long while other workers idle."""
JOB_SECONDS = 0.05
"""Shorter trials travel together until they make up this time."""
MAX_JOB = 64
HORIZON_SECONDS = 1.0
"""How long trials that are claimed at once keep a worker busy; the rest is left to whoever shares
the plan."""


class Pace:
    """The last trials' seconds; before there are any, trials go one by one."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=15)

    def took(self, seconds: float) -> None:
        """Note how long a trial ran."""
        self._recent.append(seconds)

    @property
    def prefetches(self) -> bool:
        """Whether trials are so short that one should wait behind another."""
        return self._typical_seconds < PREFETCH_BELOW_SECONDS

    def job_size(self, waiting: int, workers: int) -> int:
        """Trials that travel together, of all that wait."""
        return self._lasting(JOB_SECONDS, min(MAX_JOB, _fair(waiting, workers)))

    def horizon(self, waiting: int, workers: int) -> int:
        """Trials to claim at once, of all that wait."""
        return self._lasting(HORIZON_SECONDS, _fair(waiting, workers))

    def _lasting(self, seconds: float, most: int) -> int:
        return max(1, min(most, int(seconds / self._typical_seconds)))

    @property
    def _typical_seconds(self) -> float:
        return max(1e-6, median(self._recent)) if self._recent else math.inf


def _fair(waiting: int, workers: int) -> int:
    """Half of what a worker's share is."""
    return waiting // (2 * workers)
