"""What a pool tells while it runs, and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from sweeps.timing import TimingResult
from sweeps.trial import TrialResult, TrialState


class EventKind(StrEnum):
    """What happened."""

    WORKER_STARTED = "worker-started"
    WORKER_ENDED = "worker-ended"
    STARTED = "started"
    """A trial was handed to a worker, where it may wait for the one before it."""
    REQUEUED = "requeued"
    """A trial lost its worker and waits for another."""
    RECORDED = "recorded"
    """A result, finished or failed, is durable."""
    LANE_OPENED = "lane-opened"
    """All trials have ended, and some are to be timed."""
    TIMED = "timed"
    """A timing, finished or failed, is durable."""
    MIRRORED = "mirrored"
    """MLflow has caught up by some trials."""
    WAITING = "waiting"
    """There is no room for any worker now."""
    STOPPING = "stopping"
    """An interrupt arrived; no trial starts any more."""


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One step of a pool's life."""

    kind: EventKind
    workers: int
    """Workers alive."""
    trial_id: str | None = None
    result: TrialResult | None = None
    """With ``recorded``."""
    detail: str = ""
    """A sentence for people."""
    timing: TimingResult | None = None
    """With ``timed``."""
    timings: int = 0
    """With ``lane-opened``: how many there will be."""
    queued: int = 0
    """Trials that no worker has been given."""
    unrecorded: int = 0
    """Results that are not durable yet."""
    mirrored: int = 0
    """Trials and timings that MLflow was told of since the pool began."""


OnEvent = Callable[[PoolEvent], None]


@dataclass(slots=True)
class PoolReport:
    """How a pool's run went; times in seconds."""

    workers: int
    """Most that there were at a time."""
    start_seconds: float = 0.0
    """Until workers and writer were ready."""
    seconds: float = 0.0
    """From the first trial handed out to the last durable result."""
    lane_seconds: float = 0.0
    """The part of it in which trials were timed, one on each device."""
    mirror_seconds: float = 0.0
    """After that, until MLflow had caught up."""
    worker_seconds: float = 0.0
    """``seconds`` summed over the workers that there were."""
    busy_seconds: dict[str, float] = field(default_factory=dict)
    """Time inside trials by worker process."""
    finished: int = 0
    failed: int = 0
    infeasible: int = 0
    """Trials that turned out to be impossible."""
    remedied: int = 0
    """Attempts that failed and after which something else was tried."""
    timed: int = 0
    """Timings that gave numbers."""
    disturbed: int = 0
    """Those of them that something may have disturbed."""
    timings_failed: int = 0
    requeued: int = 0
    workers_lost: int = 0
    writers_lost: int = 0
    mirrored: int = 0
    mirror_error: str | None = None
    """Why MLflow was left behind; the next run tries again."""
    interrupted: bool = False

    @property
    def utilisation(self) -> float | None:
        """Model compute / (wall x workers), writer included, timings not; None if nothing ran."""
        capacity = self.worker_seconds or (self.seconds - self.lane_seconds) * self.workers
        return sum(self.busy_seconds.values()) / capacity if self.busy_seconds else None

    def __add__(self, later: PoolReport) -> PoolReport:
        """Both runs as one; they followed each other, with equally many workers or fewer."""
        joined: dict[str, Any] = {
            "workers": max(self.workers, later.workers),
            "busy_seconds": self.busy_seconds | later.busy_seconds,
            "mirror_error": later.mirror_error,
            "interrupted": self.interrupted or later.interrupted,
        }
        counts = (each.name for each in fields(self) if each.name not in joined)
        added = {name: getattr(self, name) + getattr(later, name) for name in counts}
        return PoolReport(**joined, **added)

    def count(self, result: TrialResult) -> None:
        """Add a durable result."""
        if result.remedy is not None:
            self.remedied += 1
        elif result.state is TrialState.FINISHED:
            self.finished += 1
        elif result.state is TrialState.INFEASIBLE:
            self.infeasible += 1
        else:
            self.failed += 1
        busy = self.busy_seconds.get(result.worker, 0.0)
        self.busy_seconds[result.worker] = busy + result.seconds

    def count_timing(self, result: TimingResult) -> None:
        """Add a durable timing."""
        if result.times is None:
            self.timings_failed += 1
        else:
            self.timed += 1
            self.disturbed += bool(result.disturbed)
