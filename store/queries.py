"""Questions that the store answers, each with one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, Text, cast, func, select, tuple_

from store.models import Attempt, Impossible, Measurement, Sweep, SweepTrial, Trial
from store.records import METRIC_NAMES, Point
from store.statements import last_attempt, num_attempts
from sweeps.trial import Metrics, TrialState

CONFIGURATION = (Trial.method, Trial.schedule, Trial.keep_ratio)
"""What trials that differ in their seed alone have in common."""


def sweeps() -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.SweepStatus`, the latest sweep first."""
    counts = _counts()
    impossible = select(func.count()).where(Impossible.sweep_id == Sweep.id).scalar_subquery()
    return (
        select(
            Sweep.name,
            func.coalesce(counts.c.planned, 0),
            func.coalesce(counts.c.finished, 0),
            func.coalesce(counts.c.failed, 0),
            impossible,
            Sweep.created_at,
            Sweep.updated_at,
            Sweep.seconds,
            Sweep.utilisation,
        )
        .outerjoin(counts, counts.c.sweep_id == Sweep.id)
        .order_by(Sweep.updated_at.desc(), Sweep.id.desc())
    )


def _counts() -> Any:
    return (
        select(
            SweepTrial.sweep_id,
            func.count().label("planned"),
            func.count().filter(Trial.state == TrialState.FINISHED).label("finished"),
            func.count().filter(Trial.state == TrialState.FAILED).label("failed"),
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .group_by(SweepTrial.sweep_id)
        .subquery()
    )


def points(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.Point` in the plan's order, then each metric."""
    return (
        select(
            SweepTrial.workload,
            Trial.id,
            Trial.method,
            cast(Trial.hyperparameters, Text),
            Trial.keep_ratio,
            SweepTrial.keep_label,
            Trial.schedule,
            Trial.seed,
            cast(Measurement.tokens_per_layer, Text),
            cast(Trial.spec, Text),
            cast(Measurement.simulated, Text),
            *(getattr(Measurement, name) for name in METRIC_NAMES),
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .join(Measurement, Measurement.trial_id == Trial.id)
        .where(SweepTrial.sweep_id == sweep_id)
        .order_by(SweepTrial.position)
    )


def point(row: Row[*tuple[Any, ...]]) -> Point:
    """One answer to :func:`points`."""
    fields: Sequence[Any] = row
    metrics = dict(zip(METRIC_NAMES, fields[-len(METRIC_NAMES) :], strict=True))
    return Point(*(*fields[: -len(METRIC_NAMES)], metrics))


def candidates(sweep_id: int, names: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.Candidate` in no order, then these metrics.

    Of 100,000 trials this takes a fraction of what :func:`points` takes.
    """
    return (
        select(
            SweepTrial.workload,
            SweepTrial.trial_id,
            cast(Measurement.simulated, Text),
            *(getattr(Measurement, name) for name in names),
        )
        .join(Measurement, Measurement.trial_id == SweepTrial.trial_id)
        .where(SweepTrial.sweep_id == sweep_id)
    )


def of_configurations(
    query: Select[*tuple[Any, ...]], configurations: Sequence[Sequence[Any]]
) -> Select[*tuple[Any, ...]]:
    """The rows of a query whose method, schedule and keep ratio are among these."""
    return query.where(tuple_(*CONFIGURATION).in_(configurations))


def failures(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.Failure` in the plan's order."""
    return (
        select(
            SweepTrial.workload,
            Trial.id,
            Trial.method,
            SweepTrial.keep_label,
            Trial.schedule,
            Trial.seed,
            num_attempts(),
            Attempt.failure,
            Attempt.error,
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .join(Attempt, Attempt.id == last_attempt())
        .where(SweepTrial.sweep_id == sweep_id, Trial.state == TrialState.FAILED)
        .order_by(SweepTrial.position)
    )


def metrics(trial_id: str) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`sweeps.trial.Metrics`."""
    columns = [getattr(Measurement, name) for name in Metrics.model_fields]
    return select(*columns).where(Measurement.trial_id == trial_id)


def finished_attempts(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Trial, start and seconds of every attempt that finished a trial of the current plan."""
    return (
        select(Attempt.trial_id, Attempt.started_at, Attempt.seconds)
        .join(SweepTrial, SweepTrial.trial_id == Attempt.trial_id)
        .where(SweepTrial.sweep_id == sweep_id, Attempt.state == TrialState.FINISHED)
        .distinct()
    )
