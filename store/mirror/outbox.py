"""Statements of the mirror: what it has yet to be told, and which run mirrors what.

Only the process that holds the ``mirror`` lock calls these, so that a run that was being made when
the lock was taken belongs to a process that died.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, tuple_, update
from sqlalchemy.orm import aliased

from store.mirror.mlflow_words import Label
from store.models import (
    Attempt,
    Measurement,
    MlflowRun,
    OutboxKind,
    OutboxRow,
    Sweep,
    SweepTrial,
    Timing,
    Trial,
)
from store.records import MEASURED, TIMES, Number
from store.sql import timings
from store.sql.statements import insert_new, last_attempt, portions
from sweeps.trial import FailureKind, TrialSpec, TrialState

Key = tuple[int, str]
"""Sweep id and trial id; an empty trial id is the sweep itself."""


@dataclass(frozen=True)
class Event:
    """One row of the outbox."""

    sequence: int
    kind: OutboxKind
    sweep_id: int
    sweep: str
    trial_id: str | None
    created_at: datetime

    @property
    def key(self) -> Key:
        """What the event is about."""
        return self.sweep_id, self.trial_id or ""

    @property
    def parent(self) -> Key:
        """The sweep that it happened in."""
        return self.sweep_id, ""


@dataclass(frozen=True)
class Claim:
    """What is known about the run that mirrors a sweep or trial."""

    run_id: str | None
    in_doubt: bool
    """Whether a process that died may have made a run without writing down its id."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the mirror tells it."""

    spec: TrialSpec
    state: TrialState
    started_at: datetime
    seconds: float
    failure: FailureKind | None
    error: str | None
    metrics: dict[str, Number]
    """Those that were measured; empty for a failed trial."""
    timing: TimingRecord | None = None

    @property
    def own_metrics(self) -> dict[str, Number]:
        """What the attempt measured itself: its times as well, where no lane took better ones."""
        if self.timing is None or self.timing.in_lane:
            return self.metrics
        return self.metrics | self.timing.metrics

    @property
    def ended_at(self) -> datetime:
        """UTC."""
        return self.started_at + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class TimingRecord:
    """The timing that counts for a trial."""

    in_lane: bool
    device: str
    disturbed: list[str]
    ended_at: datetime
    metrics: dict[str, Number]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as the mirror tells it."""

    yaml: str
    numbers: dict[str, float]
    """How its last run went; empty before one has ended."""


@dataclass(frozen=True)
class Content:
    """What a batch of events is about."""

    trials: dict[str, TrialRecord]
    labels: dict[Key, Label]
    """Of trials that the sweep's current plan still holds."""
    sweeps: dict[int, SweepRecord]
    superseded: frozenset[int]
    """Numbers of events about trials that a later one is about, and that tells everything."""


def pending(connection: Connection, limit: int) -> list[Event]:
    """The oldest events that have not been mirrored."""
    query = (
        select(
            OutboxRow.sequence,
            OutboxRow.kind,
            OutboxRow.sweep_id,
            Sweep.name,
            OutboxRow.trial_id,
            OutboxRow.created_at,
        )
        .join(Sweep, Sweep.id == OutboxRow.sweep_id)
        .where(OutboxRow.done_at.is_(None))
        .order_by(OutboxRow.sequence)
        .limit(limit)
    )
    return [Event(*row) for row in connection.execute(query)]


def behind(connection: Connection) -> set[Key]:
    """Sweeps and trials whose runs lack something that has happened."""
    query = select(OutboxRow.sweep_id, OutboxRow.trial_id).where(OutboxRow.done_at.is_(None))
    return {(sweep, trial or "") for sweep, trial in connection.execute(query.distinct())}


def claim(connection: Connection, events: Iterable[Event]) -> dict[Key, Claim]:
    """Announce that runs for these events are about to be made; says what is known of them."""
    keys = sorted({event.key for event in events} | {event.parent for event in events})
    known = _runs(connection, keys)
    new = [{"sweep_id": sweep, "trial_id": trial} for sweep, trial in keys]
    insert_new(
        connection, MlflowRun, [row for row, key in zip(new, keys, strict=True) if key not in known]
    )
    return {key: Claim(known.get(key), key in known and known[key] is None) for key in keys}


def settle(connection: Connection, sequences: Sequence[int], runs: dict[Key, str]) -> None:
    """Write down the runs that were made and the events that are mirrored."""
    change = update(MlflowRun).where(
        MlflowRun.sweep_id == bindparam("of_sweep"), MlflowRun.trial_id == bindparam("of_trial")
    )
    rows = [{"of_sweep": s, "of_trial": t, "run": run} for (s, t), run in runs.items()]
    if rows:
        connection.execute(change.values(run_id=bindparam("run")), rows)
    done = update(OutboxRow).where(OutboxRow.sequence.in_(sequences))
    connection.execute(done.values(done_at=datetime.now(UTC)))


def run_id(connection: Connection, sweep_id: int) -> str | None:
    """The sweep's own run; None before the mirror has made it."""
    return _runs(connection, [(sweep_id, "")]).get((sweep_id, ""))


def run_ids(connection: Connection, sweep_id: int, trial_ids: Iterable[str]) -> dict[str, str]:
    """Runs of those trials that the mirror has made runs for."""
    found: dict[str, str] = {}
    for portion in portions(trial_ids):
        for (_, trial), run in _runs(connection, [(sweep_id, each) for each in portion]).items():
            if run is not None:
                found[trial] = run
    return found


def content(connection: Connection, events: Sequence[Event]) -> Content:
    """Everything that the events are about."""
    trial_ids = {event.trial_id for event in events if event.trial_id is not None}
    sweep_ids = {event.sweep_id for event in events if event.trial_id is None}
    return Content(
        trials=_trials(connection, trial_ids),
        labels=_labels(connection, trial_ids),
        sweeps=_sweeps(connection, sweep_ids),
        superseded=_superseded(connection, events),
    )


def _superseded(connection: Connection, events: Sequence[Event]) -> frozenset[int]:
    later = aliased(OutboxRow)
    query = select(OutboxRow.sequence).where(
        OutboxRow.sequence.in_([event.sequence for event in events]),
        select(later.sequence)
        .where(
            later.sweep_id == OutboxRow.sweep_id,
            later.trial_id == OutboxRow.trial_id,
            later.sequence > OutboxRow.sequence,
            later.done_at.is_(None),
        )
        .exists(),
    )
    return frozenset(connection.execute(query).scalars())


def _trials(connection: Connection, trial_ids: Collection[str]) -> dict[str, TrialRecord]:
    query = (
        select(
            Trial.id,
            Trial.spec,
            Trial.state,
            Attempt.started_at,
            Attempt.seconds,
            Attempt.failure,
            Attempt.error,
            *(getattr(Measurement, name) for name in MEASURED),
        )
        .select_from(Trial)
        .join(Attempt, Attempt.id == last_attempt())
        .outerjoin(Measurement, Measurement.trial_id == Trial.id)
        .where(Trial.id.in_(trial_ids))
    )
    timed = _timings(connection, trial_ids)
    rows = connection.execute(query)
    return {row[0]: _trial_record(timed.get(row[0]), *row[1:]) for row in rows}


def _timings(connection: Connection, trial_ids: Collection[str]) -> dict[str, TimingRecord]:
    query = (
        select(
            Trial.id,
            Timing.in_lane,
            Timing.device,
            Timing.disturbed,
            Timing.started_at,
            Timing.seconds,
            *(getattr(Timing, name) for name in TIMES),
        )
        .select_from(Trial)
        .join(Timing, Timing.id == timings.counting())
        .where(Trial.id.in_(trial_ids))
    )
    return {row[0]: _timing_record(*row[1:]) for row in connection.execute(query)}


def _timing_record(
    in_lane: bool,
    device: str,
    disturbed: list[str],
    started_at: datetime,
    seconds: float,
    *numbers: Number | None,
) -> TimingRecord:
    ended_at = started_at + timedelta(seconds=seconds)
    return TimingRecord(in_lane, device, disturbed, ended_at, _known(TIMES, numbers))


def _known(names: Sequence[str], numbers: Sequence[Number | None]) -> dict[str, Number]:
    named = zip(names, numbers, strict=True)
    return {name: value for name, value in named if value is not None}


def _labels(connection: Connection, trial_ids: Collection[str]) -> dict[Key, Label]:
    query = (
        select(SweepTrial.sweep_id, SweepTrial.trial_id, SweepTrial.workload, SweepTrial.keep_label)
        .where(SweepTrial.trial_id.in_(trial_ids))
        .order_by(SweepTrial.position.desc())  # of two workloads the first one wins
    )
    return {(row[0], row[1]): Label(row[2], row[3]) for row in connection.execute(query)}


def _sweeps(connection: Connection, sweep_ids: Collection[int]) -> dict[int, SweepRecord]:
    columns = (Sweep.id, Sweep.yaml, Sweep.seconds, Sweep.utilisation, Sweep.counts)
    found = {}
    for row in connection.execute(select(*columns).where(Sweep.id.in_(sweep_ids))):
        numbers = {"seconds": row.seconds, "utilisation": row.utilisation, **(row.counts or {})}
        known = {name: float(value) for name, value in numbers.items() if value is not None}
        found[row.id] = SweepRecord(row.yaml, known)
    return found


def _runs(connection: Connection, keys: Sequence[Key]) -> dict[Key, str | None]:
    query = select(MlflowRun.sweep_id, MlflowRun.trial_id, MlflowRun.run_id)
    chosen = query.where(tuple_(MlflowRun.sweep_id, MlflowRun.trial_id).in_(keys))
    return {(row[0], row[1]): row[2] for row in connection.execute(chosen)}


def _trial_record(
    timing: TimingRecord | None,
    spec: dict[str, Any],
    state: TrialState,
    started_at: datetime,
    seconds: float,
    failure: FailureKind | None,
    error: str | None,
    *numbers: Number | None,
) -> TrialRecord:
    metrics = _known(MEASURED, numbers)
    validated = TrialSpec.model_validate(spec)
    return TrialRecord(validated, state, started_at, seconds, failure, error, metrics, timing)
