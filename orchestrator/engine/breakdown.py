"""How a job ended that gave no numbers."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from orchestrator.measurement.provenance import process_name
from sweeps.timing import TimingResult, TimingSpec
from sweeps.trial import FailureKind, TrialResult, TrialSpec, TrialState


@dataclass(frozen=True)
class Breakdown:
    """Becomes the result of whatever the job held."""

    kind: FailureKind
    error: str
    seconds: float
    """That the job ran."""
    worker: str
    """Node and process."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def by(cls, error: Exception, seconds: float) -> Self:
        """By an exception that is being handled, in this process."""
        summary = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        return cls(FailureKind.BUG, summary, seconds, process_name())

    def of_trial(self, spec: TrialSpec) -> TrialResult:
        """A result without numbers."""
        return TrialResult(
            trial_id=spec.id,
            state=TrialState.FAILED,
            started_at=self._started_at,
            seconds=self.seconds,
            worker=self.worker,
            failure=self.kind,
            error=self.error,
        )

    def of_timing(self, spec: TimingSpec) -> TimingResult:
        """A timing without numbers."""
        return TimingResult(
            trial_id=spec.trial.id,
            batch=spec.batch,
            started_at=self._started_at,
            seconds=self.seconds,
            worker=self.worker,
            device=self.worker.partition(":")[0],
            failure=self.kind,
            error=self.error,
        )

    @property
    def _started_at(self) -> datetime:
        return self.at - timedelta(seconds=self.seconds)
