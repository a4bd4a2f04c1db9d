"""What runs at this moment, from the rows that drivers and workers write anyway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from store.models import Attempt, Driver, Lease, Sweep, SweepTrial, Timing, Trial
from sweeps.trial import TrialState

THE_TRIAL = 0
"""Batch of a lease on a trial itself; others are on timings."""


@dataclass(frozen=True, slots=True)
class Run:
    """One driver at work; counts are of what it has done since it began."""

    sweep: str
    driver: str
    """Host and process, for people."""
    beat: int
    """Grows every few seconds while the driver lives."""
    started: datetime
    """When the driver began, UTC."""
    running: int
    """Trials that workers hold."""
    measured: int
    """Attempts that ended, whatever came of them."""
    failed: int
    """Those of ``measured`` that gave no numbers."""
    timed: int
    """Timings in the measurement lane."""
    busy_seconds: float
    """Wall time of all these attempts together."""
    workers: int
    """Processes that made them."""

    def utilisation(self, now: datetime) -> float | None:
        """Share of the workers' time that went into attempts so far; None before the first."""
        wall = (now - self.started).total_seconds()
        whole = wall * self.workers
        return min(1.0, self.busy_seconds / whole) if whole > 0 else None


def runs(connection: Connection) -> list[Run]:
    """Every driver that has not left, the latest first."""
    query = select(Driver).order_by(Driver.started_at.desc())
    return [_run(connection, row) for row in connection.execute(query)]


def revision(connection: Connection, sweep_id: int) -> str:
    """A text that changes whenever something about the sweep may have; cheap at any size."""
    plan = (
        select(func.count(), func.max(SweepTrial.position))
        .where(SweepTrial.sweep_id == sweep_id, SweepTrial.superseded.is_(False))
        .subquery()
    )
    query = select(
        select(func.max(Attempt.id)).scalar_subquery(),
        select(func.max(Timing.id)).scalar_subquery(),
        select(Sweep.updated_at).where(Sweep.id == sweep_id).scalar_subquery(),
        *plan.c,
    )
    return "-".join(str(value) for value in connection.execute(query).one())


def _run(connection: Connection, driver: Any) -> Run:
    attempts = connection.execute(_attempts(driver)).one()
    timed, timing_seconds, timers = connection.execute(_timings(driver)).one()
    return Run(
        sweep=driver.sweep,
        driver=driver.name,
        beat=driver.beat,
        started=driver.started_at,
        running=connection.execute(_in_flight(driver.id)).scalar_one(),
        measured=attempts.measured,
        failed=attempts.failed,
        timed=timed,
        busy_seconds=(attempts.seconds or 0.0) + (timing_seconds or 0.0),
        workers=max(attempts.workers, timers),
    )


def _of_sweep(driver: Any) -> Any:
    """Trials of the driver's sweep."""
    return (
        select(SweepTrial.trial_id)
        .join(Sweep, Sweep.id == SweepTrial.sweep_id)
        .where(Sweep.name == driver.sweep)
    )


def _attempts(driver: Any) -> Select[*tuple[Any, ...]]:
    return select(
        func.count().label("measured"),
        func.count(Attempt.failure).label("failed"),
        func.sum(Attempt.seconds).label("seconds"),
        func.count(Attempt.worker.distinct()).label("workers"),
    ).where(Attempt.started_at >= driver.started_at, Attempt.trial_id.in_(_of_sweep(driver)))


def _timings(driver: Any) -> Select[*tuple[Any, ...]]:
    of_it = Timing.trial_id.in_(_of_sweep(driver))
    return select(
        func.count(), func.sum(Timing.seconds), func.count(Timing.worker.distinct())
    ).where(Timing.in_lane, Timing.started_at >= driver.started_at, of_it)


def _in_flight(driver_id: str) -> Select[int]:
    ended = (TrialState.FINISHED, TrialState.INFEASIBLE)
    not_ended = func.coalesce(Trial.state, TrialState.FAILED).not_in(ended)
    return (
        select(func.count())
        .select_from(Lease)
        .join(Trial, Trial.id == Lease.trial_id)
        .where(and_(Lease.driver_id == driver_id, Lease.batch == THE_TRIAL, Lease.begun, not_ended))
    )
