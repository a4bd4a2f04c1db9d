"""Questions that the store answers, each with one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    cast,
    false,
    func,
    select,
    tuple_,
)

from store.models import (
    Attempt,
    Environment,
    Impossible,
    Measurement,
    OutboxKind,
    OutboxRow,
    Sweep,
    SweepTrial,
    Timing,
    Trial,
)
from store.records import MEASURED, METRIC_NAMES, TIMES, Point
from store.sql import timings
from store.sql.statements import PLACED, last_attempt, num_attempts
from sweeps.times import TIME_METRICS
from sweeps.trial import Metrics, TrialState

CONFIGURATION = (Trial.method, Trial.schedule, Trial.keep_ratio)
"""What trials that differ in their seed alone have in common."""
_CURRENT: ColumnElement[bool] = SweepTrial.superseded.is_(False)


def sweeps() -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.SweepStatus`, the sweep that was begun last first."""
    counts = _counts()
    impossible = select(func.count()).where(Impossible.sweep_id == Sweep.id).scalar_subquery()
    return (
        select(
            Sweep.name,
            func.coalesce(counts.c.planned - counts.c.infeasible, 0),
            func.coalesce(counts.c.finished, 0),
            func.coalesce(counts.c.failed, 0),
            impossible + func.coalesce(counts.c.infeasible, 0),
            Sweep.created_at,
            Sweep.updated_at,
            Sweep.seconds,
            Sweep.utilisation,
            func.coalesce(counts.c.timed, 0),
        )
        .outerjoin(counts, counts.c.sweep_id == Sweep.id)
        .order_by(_last_begun().desc(), Sweep.id.desc())
    )


def _last_begun() -> Any:
    """Place of a sweep's latest beginning among all that happened; a clock may be set back."""
    rows = select(func.coalesce(func.max(OutboxRow.sequence), 0)).where(
        OutboxRow.sweep_id == Sweep.id,
        OutboxRow.trial_id.is_(None),
        OutboxRow.kind == OutboxKind.SWEEP_BEGUN,
    )
    return rows.correlate(Sweep).scalar_subquery()


def _counts() -> Any:
    return (
        select(
            SweepTrial.sweep_id,
            func.count().label("planned"),
            func.count().filter(Trial.state == TrialState.FINISHED).label("finished"),
            func.count().filter(Trial.state == TrialState.FAILED).label("failed"),
            func.count().filter(Trial.state == TrialState.INFEASIBLE).label("infeasible"),
            func.count().filter(_is_timed()).label("timed"),
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .where(_CURRENT)
        .group_by(SweepTrial.sweep_id)
        .subquery()
    )


def _is_timed() -> Any:
    """Whether the trial has numbers from the lane at its own batch size."""
    rows = select(Timing.id).where(
        Timing.trial_id == Trial.id,
        Timing.batch == Trial.batch,
        Timing.in_lane,
        Timing.failure.is_(None),
    )
    return and_(Trial.state == TrialState.FINISHED, rows.correlate(Trial).exists())


def points(sweep_id: int, batch: int | None = None) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.Point` in the plan's order, then each metric.

    Times are those at ``batch``, or at the batch size that the trial's costs were counted on.
    """
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
            Timing.in_lane,
            cast(Timing.disturbed, Text),
            Timing.device,
            *(getattr(Measurement, name) for name in MEASURED),
            *(getattr(Timing, name) for name in TIMES),
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .join(Measurement, Measurement.trial_id == Trial.id)
        .outerjoin(Timing, Timing.id == timings.counting(batch))
        .where(SweepTrial.sweep_id == sweep_id)
        .order_by(SweepTrial.position)
    )


def current() -> ColumnElement[bool]:
    """Trials in whose place no other stands."""
    return _CURRENT


def point(row: Row[*tuple[Any, ...]]) -> Point:
    """One answer to :func:`points`."""
    fields: Sequence[Any] = row
    numbers = len(fields) - len(METRIC_NAMES)
    metrics = dict(zip(METRIC_NAMES, fields[numbers:], strict=True))
    in_lane, disturbed, device = fields[numbers - 3 : numbers]
    timing = {"in_lane": bool(in_lane), "disturbed_json": disturbed or "[]", "device": device}
    return Point(*(*fields[: numbers - 3], metrics), **timing)


def candidates(
    sweep_id: int, names: Sequence[str], workload: str | None = None
) -> Select[*tuple[Any, ...]]:
    """Workload, trial, simulated metrics (JSON), in lane, then these metrics; in no order.

    Of 100,000 trials this takes a fraction of what :func:`points` takes; times, which are looked
    for only where they are among the metrics, take longer.
    """
    timed = any(name in TIMES for name in names)
    columns = (getattr(Timing if name in TIMES else Measurement, name) for name in names)
    planned: list[ColumnElement[bool]] = [SweepTrial.sweep_id == sweep_id, _CURRENT]
    if workload is not None:
        planned.append(SweepTrial.workload == workload)
    query = (
        select(
            SweepTrial.workload,
            SweepTrial.trial_id,
            cast(Measurement.simulated, Text),
            Timing.in_lane if timed else false(),
            *columns,
        )
        .join(Measurement, Measurement.trial_id == SweepTrial.trial_id)
        .where(*planned)
    )
    if not timed:
        return query
    counting = timings.counting_of(select(SweepTrial.trial_id).where(*planned))
    with_ids = query.outerjoin(counting, counting.c.trial_id == SweepTrial.trial_id)
    return with_ids.outerjoin(Timing, Timing.id == counting.c.timing_id)


def of_configurations(
    query: Select[*tuple[Any, ...]], configurations: Sequence[Sequence[Any]]
) -> Select[*tuple[Any, ...]]:
    """The rows of a query whose method, schedule and keep ratio are among these."""
    return query.where(tuple_(*CONFIGURATION).in_(configurations))


def failures(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.Failure` in the plan's order."""
    return (
        select(
            *PLACED,
            num_attempts(),
            Attempt.failure,
            Attempt.error,
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .join(Attempt, Attempt.id == last_attempt())
        .where(SweepTrial.sweep_id == sweep_id, Trial.state == TrialState.FAILED, _CURRENT)
        .order_by(SweepTrial.position)
    )


def unfinishable(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Workload, method, hyperparameters (JSON), keep ratio, schedule and seed of the plan's trials
    that failed or are impossible."""
    return (
        select(
            SweepTrial.workload,
            Trial.method,
            cast(Trial.hyperparameters, Text),
            Trial.keep_ratio,
            Trial.schedule,
            Trial.seed,
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .where(
            SweepTrial.sweep_id == sweep_id,
            Trial.state.in_((TrialState.FAILED, TrialState.INFEASIBLE)),
            _CURRENT,
        )
    )


def trials_with(sweep_id: int, method: str) -> Select[str]:
    """Trials of the current plan that run this method."""
    return (
        select(SweepTrial.trial_id)
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .where(SweepTrial.sweep_id == sweep_id, Trial.method == method, _CURRENT)
        .distinct()
    )


def failed_attempts(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.FailedAttempt`, oldest first."""
    return (
        select(
            *PLACED,
            Trial.state,
            Attempt.failure,
            Attempt.error,
            Attempt.worker,
            Attempt.device,
            Attempt.remedy,
            Attempt.started_at,
        )
        .join(Attempt, Attempt.trial_id == SweepTrial.trial_id)
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .where(SweepTrial.sweep_id == sweep_id, Attempt.failure.is_not(None), _CURRENT)
        .order_by(Attempt.id, SweepTrial.workload)
    )


def infeasible(trial_ids: Iterable[str]) -> Select[str]:
    """Those that turned out to be impossible."""
    return select(Trial.id).where(Trial.id.in_(trial_ids), Trial.state == TrialState.INFEASIBLE)


def past(tasks: Iterable[str]) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.comparison.prices.Past`."""
    kind = (Trial.task, Trial.backbone, Trial.method, Measurement.num_examples)
    return (
        select(
            *kind,
            func.count(),
            func.avg(Attempt.seconds),
            func.avg(Attempt.seconds * Attempt.seconds),
            func.max(Measurement.peak_bytes),
            func.max(Measurement.weight_bytes),
        )
        .select_from(Trial)
        .join(Measurement, Measurement.trial_id == Trial.id)
        .join(Attempt, Attempt.trial_id == Trial.id)
        .where(Trial.task.in_(sorted(tasks)), Attempt.state == TrialState.FINISHED)
        .group_by(*kind)
        .order_by(*kind)
    )


def attempt(trial_id: str) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.records.AttemptRecord`."""
    return (
        select(
            Attempt.trial_id,
            Attempt.state,
            Attempt.started_at,
            Attempt.seconds,
            Attempt.worker,
            Attempt.failure,
            Attempt.error,
            Environment.content,
        )
        .join(Environment, Environment.id == Attempt.environment_id)
        .where(Attempt.trial_id == trial_id)
        .order_by(Attempt.id.desc())
        .limit(1)
    )


def metrics(trial_id: str) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`sweeps.trial.Metrics`."""
    columns = [
        getattr(Timing if name in TIME_METRICS else Measurement, name)
        for name in Metrics.model_fields
    ]
    return (
        select(*columns)
        .select_from(Measurement)
        .join(Trial, Trial.id == Measurement.trial_id)
        .outerjoin(Timing, Timing.id == timings.counting())
        .where(Measurement.trial_id == trial_id)
    )


def finished_attempts(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Trial, start and seconds of every attempt that finished a trial of the current plan."""
    return (
        select(Attempt.trial_id, Attempt.started_at, Attempt.seconds)
        .join(SweepTrial, SweepTrial.trial_id == Attempt.trial_id)
        .where(SweepTrial.sweep_id == sweep_id, Attempt.state == TrialState.FINISHED)
        .distinct()
    )


def environments(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Content, trials, first and last start of the environments that finished trials ran in."""
    found = (
        select(
            Attempt.environment_id,
            func.count(Attempt.trial_id.distinct()).label("trials"),
            func.min(Attempt.started_at).label("first"),
            func.max(Attempt.started_at).label("last"),
        )
        .join(SweepTrial, SweepTrial.trial_id == Attempt.trial_id)
        .where(SweepTrial.sweep_id == sweep_id, Attempt.state == TrialState.FINISHED)
        .group_by(Attempt.environment_id)
        .subquery()
    )
    return (
        select(Environment.content, found.c.trials, found.c.first, found.c.last)
        .join(found, found.c.environment_id == Environment.id)
        .order_by(found.c.trials.desc(), Environment.id)
    )
