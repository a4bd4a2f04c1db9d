"""Statements about sweeps and their plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, select, update

from methods.naming import unknown
from store.models import Driver, Impossible, OutboxKind, OutboxRow, Sweep, SweepTrial, Trial
from store.serialization import digest
from store.sql.statements import insert_new, present
from sweeps.trial import TrialSpec, TrialState

GRID: Final = "grid"
"""The strategy whose plan is whole from the beginning."""


class RunElsewhereError(ValueError):
    """Other drivers run another version of a search."""


@dataclass(frozen=True)
class Plan:
    """What one run of a sweep is about to do."""

    name: str
    yaml: str
    spec: dict[str, Any]
    trials: Sequence[tuple[str, str, TrialSpec]]
    """Workload, keep label and spec of every trial."""
    impossible: Sequence[dict[str, Any]]
    driver: str | None = None
    """Id of the driver that is about to run it, if one is."""


def begin(connection: Connection, plan: Plan) -> None:
    """Make ``plan`` the sweep's current one; the mirror is told of the sweep before its trials.

    Beside drivers that run the same it is joined: nothing of theirs leaves the plan. Raises
    RunElsewhereError where they run another version of a search.
    """
    now = datetime.now(UTC)
    sweep_id, before = _upsert(connection, plan, now)
    others, same = _others(connection, plan), digest(before) == digest(plan.spec)
    if others and not same and (_grows(before) or _grows(plan.spec)):
        raise RunElsewhereError(
            f"sweep {plan.name!r} is being run by {', '.join(others)} from another version of its "
            "file: wait until that has ended, or give this one another name"
        )
    _add_trials(connection, [spec for _, _, spec in plan.trials])
    if others and same:
        _add_rows(connection, sweep_id, plan.trials, _next_position(connection, sweep_id))
    else:
        _replace_rows(connection, sweep_id, plan)
    tell = {"kind": OutboxKind.SWEEP_BEGUN, "sweep_id": sweep_id, "created_at": now}
    connection.execute(insert(OutboxRow), [tell])
    _adopt_finished(connection, sweep_id, now)


def extend(
    connection: Connection,
    sweep_id: int,
    trials: Sequence[tuple[str, str, TrialSpec]],
    superseded: Sequence[tuple[str, str]],
) -> None:
    """Add trials at the end of the current plan; mark those that they take the place of."""
    _add_trials(connection, [spec for _, _, spec in trials])
    _add_rows(connection, sweep_id, trials, _next_position(connection, sweep_id))
    place = (SweepTrial.sweep_id == sweep_id, SweepTrial.workload == bindparam("of_workload"))
    change = update(SweepTrial).where(*place, SweepTrial.trial_id == bindparam("of_trial"))
    rows = [{"of_workload": workload, "of_trial": trial} for workload, trial in superseded]
    if rows:
        connection.execute(change.values(superseded=True), rows)
    _adopt_finished(connection, sweep_id, datetime.now(UTC))


def add_impossible(
    connection: Connection, sweep_id: int, combinations: Sequence[dict[str, Any]]
) -> None:
    """Add combinations behind those that the plan lists, each once."""
    listed = select(Impossible.position, Impossible.combination)
    rows = connection.execute(listed.where(Impossible.sweep_id == sweep_id)).all()
    known = [combination for _, combination in rows]
    first = 1 + max((position for position, _ in rows), default=-1)
    _add_impossible(connection, sweep_id, [c for c in combinations if c not in known], first)


def end(
    connection: Connection,
    sweep_id: int,
    seconds: float,
    utilisation: float | None,
    counts: dict[str, int],
) -> None:
    """Write down how a run went."""
    now = datetime.now(UTC)
    ended = update(Sweep).where(Sweep.id == sweep_id)
    numbers = {"seconds": seconds, "utilisation": utilisation, "counts": counts}
    connection.execute(ended.values(updated_at=now, **numbers))
    tell = {"kind": OutboxKind.SWEEP_ENDED, "sweep_id": sweep_id, "created_at": now}
    connection.execute(insert(OutboxRow), [tell])


def sweep_id(connection: Connection, name: str) -> int:
    """The sweep's row. Raises ValueError that names the nearest, or the empty store."""
    found = connection.execute(select(Sweep.id).where(Sweep.name == name)).scalar_one_or_none()
    if found is None:
        names = list(connection.execute(select(Sweep.name)).scalars())
        if not names:
            place = connection.get_execution_options()["store"]
            raise ValueError(f"no sweep in {place} yet; make one with: paretoken run FILE")
        raise ValueError(unknown("sweep", name, names))
    return found


def require_workload(connection: Connection, sweep_id: int, workload: str) -> None:
    """Raises ValueError that names the nearest workload of the sweep.

    One of the file of which nothing can run is there, and has no trials.
    """
    spec = connection.execute(select(Sweep.spec).where(Sweep.id == sweep_id)).scalar_one()
    names = set(spec.get("workloads", {}))
    if workload in names:
        return
    rows = select(SweepTrial.workload).where(SweepTrial.sweep_id == sweep_id).distinct()
    names.update(connection.execute(rows).scalars())
    if workload not in names:
        raise ValueError(unknown("workload", workload, names))


def _upsert(connection: Connection, plan: Plan, now: datetime) -> tuple[int, dict[str, Any]]:
    """The sweep's row, which nobody else changes now, and the spec that stood there, if any did."""
    content = {"yaml": plan.yaml, "spec": plan.spec, "updated_at": now}
    insert_new(connection, Sweep, [{"name": plan.name, "created_at": now, **content}])
    stood = select(Sweep.id, Sweep.spec).where(Sweep.name == plan.name).with_for_update()
    sweep_id, before = connection.execute(stood).one()
    connection.execute(update(Sweep).where(Sweep.id == sweep_id).values(**content))
    return sweep_id, before


def _grows(spec: dict[str, Any]) -> bool:
    """Whether a search adds trials while it runs, as its file wants it."""
    return bool(spec.get("search", {}).get("strategy", GRID) != GRID)


def _others(connection: Connection, plan: Plan) -> list[str]:
    """Names of the drivers that run a sweep of this name besides."""
    query = select(Driver.name).where(Driver.sweep == plan.name, Driver.id != plan.driver)
    return sorted(connection.execute(query).scalars()) if plan.driver is not None else []


def _next_position(connection: Connection, sweep_id: int) -> int:
    """The first position behind the current plan."""
    last = select(func.max(SweepTrial.position)).where(SweepTrial.sweep_id == sweep_id)
    return 1 + (connection.execute(last).scalar() or 0)


def _add_trials(connection: Connection, specs: Sequence[TrialSpec]) -> None:
    by_id = {spec.id: spec for spec in specs}
    known = present(connection, Trial.id, by_id)
    # In the order of their ids: two processes that add the same trials wait, and never in a ring.
    new = [_trial_row(by_id[trial_id]) for trial_id in sorted(by_id.keys() - known)]
    insert_new(connection, Trial, new)


def _trial_row(spec: TrialSpec) -> dict[str, Any]:
    return {
        "id": spec.id,
        "task": spec.task.id,
        "backbone": spec.backbone.name,
        "method": spec.method.id,
        "hyperparameters": spec.method.params,
        "schedule": spec.schedule.label,
        "keep_ratio": spec.keep_ratio,
        "seed": spec.seed,
        "batch": spec.measure.batch,
        "spec": spec.model_dump(mode="json"),
    }


def _replace_rows(connection: Connection, sweep_id: int, plan: Plan) -> None:
    for table in (SweepTrial, Impossible):
        connection.execute(delete(table).where(table.sweep_id == sweep_id))
    _add_rows(connection, sweep_id, plan.trials, 0)
    _add_impossible(connection, sweep_id, plan.impossible, 0)


def _add_impossible(
    connection: Connection, sweep_id: int, combinations: Sequence[dict[str, Any]], first: int
) -> None:
    rows = [
        {"sweep_id": sweep_id, "position": position, "combination": combination}
        for position, combination in enumerate(combinations, first)
    ]
    insert_new(connection, Impossible, rows)


def _add_rows(
    connection: Connection,
    sweep_id: int,
    trials: Sequence[tuple[str, str, TrialSpec]],
    first: int,
) -> None:
    rows = [
        {
            "sweep_id": sweep_id,
            "workload": workload,
            "trial_id": spec.id,
            "keep_label": keep_label,
            "position": position,
        }
        for position, (workload, keep_label, spec) in enumerate(trials, first)
    ]
    insert_new(connection, SweepTrial, rows)


def _adopt_finished(connection: Connection, sweep_id: int, now: datetime) -> None:
    """Queue trials that finished before this sweep planned them."""
    told = select(OutboxRow.sequence).where(
        OutboxRow.sweep_id == sweep_id,
        OutboxRow.trial_id == SweepTrial.trial_id,
        OutboxRow.kind == OutboxKind.TRIAL_FINISHED,
    )
    kind = literal(OutboxKind.TRIAL_FINISHED, OutboxRow.kind.type)
    query = (
        select(
            kind, SweepTrial.sweep_id, SweepTrial.trial_id, literal(now, OutboxRow.created_at.type)
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .where(SweepTrial.sweep_id == sweep_id, Trial.state == TrialState.FINISHED, ~told.exists())
        .distinct()
    )
    columns = ["kind", "sweep_id", "trial_id", "created_at"]
    connection.execute(insert(OutboxRow).from_select(columns, query))
