"""Statements about what came of trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from store.models import (
    Attempt,
    Measurement,
    OutboxKind,
    OutboxRow,
    Outcomes,
    SweepTrial,
    Trial,
)
from store.serialization import digest, to_parquet
from store.sql import timings
from store.sql.statements import insert_new, keep_environments, portions, storable
from sweeps.times import TIME_METRICS
from sweeps.trial import TrialResult, TrialState

_KINDS = {
    TrialState.FINISHED: OutboxKind.TRIAL_FINISHED,
    TrialState.FAILED: OutboxKind.TRIAL_FAILED,
    TrialState.INFEASIBLE: OutboxKind.TRIAL_FAILED,
}


# Built once: composing them anew takes longer than running them.
_AMONG = Trial.id.in_(bindparam("trials", expanding=True))
_FINISHED = select(Trial.id).where(_AMONG, Trial.state == TrialState.FINISHED)
_LOCKED_STATES = select(Trial.id, Trial.state).where(_AMONG).order_by(Trial.id).with_for_update()
_BATCHES = select(Trial.id, Trial.batch).where(_AMONG)
_SET_STATE = update(Trial).where(Trial.id == bindparam("trial")).values(state=bindparam("to"))
_TELL = insert(OutboxRow).from_select(
    ["kind", "sweep_id", "trial_id", "created_at"],
    select(
        bindparam("kind", type_=OutboxRow.kind.type),
        SweepTrial.sweep_id,
        SweepTrial.trial_id,
        bindparam("now", type_=OutboxRow.created_at.type),
    )
    .where(SweepTrial.trial_id.in_(bindparam("trials", expanding=True)))
    .distinct(),
)


def finished(connection: Connection, trial_ids: Iterable[str]) -> set[str]:
    """Those of ``trial_ids`` that are finished."""
    found: set[str] = set()
    for portion in portions(trial_ids):
        found.update(connection.execute(_FINISHED, {"trials": portion}).scalars())
    return found


def record(connection: Connection, results: Sequence[TrialResult]) -> None:
    """Keep the attempts at trials that are not finished yet.

    One after which a remedy is tried leaves the trial as it is.
    """
    attempts = _still_open(connection, results)
    if not attempts:
        return
    _add_attempts(connection, attempts)
    last = {result.trial_id: result for result in attempts if result.remedy is None}
    if not last:
        return
    _set_states(connection, last.values())
    _add_numbers(connection, [r for r in last.values() if r.state is TrialState.FINISHED])
    for state, kind in _KINDS.items():
        _tell(connection, kind, [r.trial_id for r in last.values() if r.state is state])


def _still_open(connection: Connection, results: Sequence[TrialResult]) -> list[TrialResult]:
    states = _locked_states(connection, sorted({result.trial_id for result in results}))
    kept = []
    for result in results:
        if result.trial_id not in states:
            raise ValueError(f"no sweep has planned trial {result.trial_id!r}")
        if states[result.trial_id] is not TrialState.FINISHED:
            kept.append(result)
            states[result.trial_id] = result.state
    return kept


def _locked_states(connection: Connection, trial_ids: list[str]) -> dict[str, TrialState | None]:
    """States that nobody else can change before this transaction ends.

    On SQLite the transaction already is the only writer and ``FOR UPDATE`` is left out.
    """
    states: dict[str, TrialState | None] = {}
    for portion in portions(trial_ids):
        rows = connection.execute(_LOCKED_STATES, {"trials": portion})
        states.update((row.id, row.state) for row in rows)
    return states


def _add_attempts(connection: Connection, results: Sequence[TrialResult]) -> None:
    keep_environments(connection, [result.environment for result in results])
    insert_new(connection, Attempt, [_attempt_row(result) for result in results])


def _attempt_row(result: TrialResult) -> dict[str, Any]:
    assert (result.failure is None) is (result.state is TrialState.FINISHED), result
    return {
        "trial_id": result.trial_id,
        "state": result.state,
        "started_at": result.started_at,
        "seconds": result.seconds,
        "worker": result.worker,
        "device": result.device,
        "failure": result.failure,
        "remedy": result.remedy,
        "error": None if result.error is None else storable(result.error),
        "environment_id": digest(result.environment),
    }


def _set_states(connection: Connection, results: Iterable[TrialResult]) -> None:
    rows = [{"trial": result.trial_id, "to": result.state} for result in results]
    connection.execute(_SET_STATE, rows)


def _add_numbers(connection: Connection, results: Sequence[TrialResult]) -> None:
    if not results:
        return
    measurements, outcomes = [], []
    for result in results:
        assert result.metrics is not None, "a finished trial has metrics"
        numbers = result.metrics.model_dump(exclude=set(TIME_METRICS))
        measurements.append({"trial_id": result.trial_id, **numbers})
        parquet = to_parquet(result.outcomes, result.clusters)
        outcomes.append({"trial_id": result.trial_id, "parquet": parquet})
    connection.execute(insert(Measurement), measurements)
    connection.execute(insert(Outcomes), outcomes)
    batches = _batches(connection, [result.trial_id for result in results])
    own = (timings.of_trial(result, batches[result.trial_id]) for result in results)
    timings.keep(connection, [timing for timing in own if timing is not None])


def _batches(connection: Connection, trial_ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for portion in portions(trial_ids):
        rows = connection.execute(_BATCHES, {"trials": portion})
        found.update((row.id, row.batch) for row in rows)
    return found


def _tell(connection: Connection, kind: OutboxKind, trial_ids: Sequence[str]) -> None:
    """Queue the trials for every sweep that plans them."""
    now = datetime.now(UTC)
    for portion in portions(trial_ids):
        connection.execute(_TELL, {"kind": kind, "now": now, "trials": portion})
