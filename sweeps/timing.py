"""One timing in the measurement lane and what came of it; plain data that crosses process borders.

A timing belongs to a trial and a batch size. It can be repeated, and every repetition is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sweeps.times import Times
from sweeps.trial import FailureKind, TrialSpec


@dataclass(frozen=True)
class TimingSpec:
    """A trial to be timed at a batch size."""

    trial: TrialSpec
    batch: int
    """Examples in one run."""

    @property
    def id(self) -> str:
        """Trial and batch size."""
        return f"{self.trial.id}@{self.batch}"


@dataclass(frozen=True)
class TimingResult:
    """What one attempt at a timing gave."""

    trial_id: str
    batch: int
    started_at: datetime
    """UTC."""
    seconds: float
    """Wall time of the attempt in its worker."""
    worker: str
    """Node and process that ran it."""
    device: str
    """What it ran on: a node's CPU, or a GPU by its UUID."""
    times: Times | None = None
    """None if it failed."""
    in_lane: bool = False
    """Whether no trial of any sweep on this machine used the device meanwhile."""
    disturbed: tuple[str, ...] = ()
    """What may have disturbed it nevertheless, a sentence each."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """Load, clocks and the like at the time, as far as they can be read."""
    failure: FailureKind | None = None
    error: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    """Package versions, device, threads, as of a trial."""
