"""What the store answers with: plain values, detached from the database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweeps.failures import FailureKind, Remedy
from sweeps.metrics import METRICS
from sweeps.times import TIME_METRICS, Times
from sweeps.trial import Metrics, TrialState

Number = int | float

NOT_NUMBERS = frozenset(name for name, each in METRICS.items() if each.role == "detail")
MEASURED = tuple(
    name for name in Metrics.model_fields if name not in NOT_NUMBERS and name not in TIME_METRICS
)
"""Every metric that is one number and no time."""
TIMES = tuple(Times.model_fields)
METRIC_NAMES = (*MEASURED, *TIMES)
"""Every metric that is one number."""

PlannedRow = tuple[str, str, str, int, str | None]
"""Workload, trial, keep label, position in the plan, and state, if any, of a planned trial."""

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Point:
    """A finished trial in a sweep.

    JSON documents are parsed when asked for: a frontier over 100,000 points needs few of them.
    """

    workload: str
    trial: str
    method: str
    hyperparameters_json: str
    keep_ratio: float
    """Nominal fraction kept, in (0, 1]."""
    keep_label: str
    """The keep ratio as the user wrote it."""
    schedule: str
    seed: int
    tokens_per_layer_json: str
    spec_json: str
    simulated_json: str
    metrics: dict[str, Number | None]
    """Every metric that is one number, by the names of :class:`sweeps.trial.Metrics`."""
    in_lane: bool = False
    """Whether its times were taken in the measurement lane."""
    disturbed_json: str = "[]"
    device: str | None = None
    """What they were taken on."""

    @property
    def outside_lane(self) -> frozenset[str]:
        """Metrics that were taken while other trials ran: no place on a frontier over them."""
        return _NONE if self.in_lane else TIME_METRICS

    @property
    def disturbed(self) -> list[str]:
        """What may have disturbed the timing."""
        return list(json.loads(self.disturbed_json)) if self.disturbed_json != "[]" else []

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The method's resolved hyperparameters."""
        return dict(json.loads(self.hyperparameters_json))

    @property
    def simulated(self) -> frozenset[str]:
        """Metrics whose saving is only simulated."""
        return frozenset(json.loads(self.simulated_json)) if self.simulated_json != "[]" else _NONE

    @property
    def tokens_per_layer(self) -> list[int]:
        """Measured tokens entering each layer."""
        return list(json.loads(self.tokens_per_layer_json))

    @property
    def spec(self) -> dict[str, Any]:
        """The trial's spec, valid for :class:`sweeps.trial.TrialSpec`."""
        return dict(json.loads(self.spec_json))


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """How far a sweep is; counts are of its current plan."""

    name: str
    planned: int
    finished: int
    failed: int
    impossible: int
    created: datetime
    updated: datetime
    seconds: float | None
    """Wall time of the last run that ended."""
    utilisation: float | None
    timed: int
    """Finished trials that have been timed in the measurement lane."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """The last attempt at a trial."""

    trial: str
    state: TrialState
    started_at: datetime
    """When it began, UTC."""
    seconds: float
    worker: str
    """Where it ran, as NODE:PROCESS."""
    failure: FailureKind | None
    error: str | None
    environment: dict[str, Any]
    """What besides the spec may explain its numbers."""


@dataclass(frozen=True, slots=True)
class EnvironmentUse:
    """Software and hardware, and the finished trials of a sweep whose numbers come from there."""

    content: dict[str, Any]
    trials: int
    first: datetime
    last: datetime
    """Starts of the first and the last of them, UTC."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt at a planned trial that gave no numbers, whatever came of the trial later."""

    workload: str
    trial: str
    method: str
    keep_label: str
    schedule: str
    seed: int
    state: TrialState | None
    """Of the trial now; None: it is still to be run."""
    kind: FailureKind
    error: str
    worker: str
    """Where it ran, as NODE:PROCESS."""
    device: str | None
    remedy: Remedy | None
    """What was done about it."""
    started_at: datetime
    """When it began, UTC."""

    @property
    def node(self) -> str:
        """Where it ran; empty if it never began."""
        return self.worker.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Failure:
    """A planned trial whose last attempt failed."""

    workload: str
    trial: str
    method: str
    keep_label: str
    schedule: str
    seed: int
    attempts: int
    kind: FailureKind
    error: str
    timing: bool = False
    """Whether it is a timing of the trial that failed, at one batch size."""
