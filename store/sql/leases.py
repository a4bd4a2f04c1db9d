"""Who measures what at this moment, so that drivers which share a store share no trial.

A driver takes leases on trials, and on timings, before it hands any of them to a worker: an insert
that succeeds for one driver only. All leases of a driver hang on its row, whose beat it raises
every few seconds. A lease has expired when that beat has stood still for too long: whoever waits
deletes the driver's row, and with it the leases, provided that the beat is still the one it has
seen (compare and set). No time of any clock is stored or compared: whoever waits counts the seconds
on a clock of its own that only grows. A clock that jumps, here or on the database's machine,
changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from store.database import Database
from store.mirror import outbox
from store.models import Attempt, Driver, Lease, OutboxKind, OutboxRow, Sweep, Trial
from store.sql.statements import insert_new, last_attempt, portions
from sweeps.trial import TrialState

Work = tuple[str, int]
"""A trial and a batch size to time it at, or 0 for the trial itself."""
THE_TRIAL = 0


@dataclass(frozen=True)
class Partner:
    """A driver as the store knows it."""

    id: str
    sweep: str
    name: str
    """Host and process, for people."""
    place: str
    """Where ``process`` can be looked up."""
    process: str
    beat: int = 0


class Leases:
    """The leases of one database. Every call is one transaction."""

    def __init__(self, url: str, patience_s: float = 0.0) -> None:
        self._database = Database(url, patience_s)

    def close(self) -> None:
        """Give connections back."""
        self._database.close()

    def enter(self, driver: Partner) -> None:
        """Make a driver known; one that is known already stays as it is."""
        row = {name: getattr(driver, name) for name in Partner.__dataclass_fields__}
        with self._database.write() as connection:
            insert_new(connection, Driver, [row | {"started_at": datetime.now(UTC)}])

    def leave(self, driver_id: str) -> None:
        """Give back everything that a driver holds."""
        with self._database.write() as connection:
            connection.execute(delete(Driver).where(Driver.id == driver_id))

    def renew(self, driver_id: str, begun: Collection[Work] = ()) -> bool:
        """Say that the driver lives, and what it has given to workers since; False: it is gone."""
        raised = update(Driver).where(Driver.id == driver_id).values(beat=Driver.beat + 1)
        with self._database.write() as connection:
            alive = connection.execute(raised).rowcount == 1
            if alive and begun:
                rows = [{"of_trial": trial, "at_batch": batch} for trial, batch in begun]
                connection.execute(_BEGIN.where(Lease.driver_id == driver_id), rows)
        return alive

    def take(self, driver_id: str, work: Iterable[Work]) -> set[Work]:
        """Lease what nobody holds; those of ``work`` that the driver holds now."""
        wanted = sorted(set(work))  # in one order: two drivers wait for each other, never in a ring
        rows = [
            {"trial_id": trial, "batch": batch, "driver_id": driver_id, "begun": False}
            for trial, batch in wanted
        ]
        with self._database.write() as connection:
            insert_new(connection, Lease, rows)
            holders = _holders(connection, wanted)
        return {each for each, driver in holders.items() if driver == driver_id}

    def partners(self) -> list[Partner]:
        """All drivers that have not left."""
        columns = [getattr(Driver, name) for name in Partner.__dataclass_fields__]
        with self._database.read() as connection:
            return [Partner(*row) for row in connection.execute(select(*columns))]

    def holders(self, work: Iterable[Work]) -> dict[Work, str]:
        """Driver ids by what they hold of ``work``."""
        with self._database.read() as connection:
            return _holders(connection, set(work))

    def bury(self, partner: Partner) -> list[str] | None:
        """End a driver that is gone, if its beat has not moved; None if it has, or others did.

        Returns the trials that its workers had begun and not ended.
        """
        same = and_(Driver.id == partner.id, Driver.beat == partner.beat)
        with self._database.write() as connection:
            lost = list(connection.execute(_IN_FLIGHT, {"driver": partner.id}).scalars())
            buried = connection.execute(delete(Driver).where(same)).rowcount == 1
        return lost if buried else None

    def last_attempt(self) -> int:
        """Number of the newest attempt at any trial, for :meth:`ended`."""
        with self._database.read() as connection:
            return connection.execute(select(func.max(Attempt.id))).scalar() or 0

    def ended(self, trial_ids: Iterable[str], since: int) -> dict[str, TrialState]:
        """Those that finished or turned out impossible, or failed in an attempt after ``since``.

        An attempt that a remedy follows has ended nothing.
        """
        last = select(Attempt.remedy).where(Attempt.id == last_attempt()).scalar_subquery()
        failed = and_(Trial.state == TrialState.FAILED, last_attempt() > since, last.is_(None))
        over = Trial.state.in_([TrialState.FINISHED, TrialState.INFEASIBLE])
        query = select(Trial.id, Trial.state).where(or_(over, failed))
        found: dict[str, TrialState] = {}
        with self._database.read() as connection:
            for portion in portions(trial_ids):
                rows = connection.execute(query.where(Trial.id.in_(portion)))
                found.update((trial, state) for trial, state in rows if state is not None)
        return found

    def mend_mirror(self, sweep: str, alive: Collection[str]) -> int:
        """Have MLflow end the sweeps that nobody runs; how many of its runs are behind.

        ``alive`` are sweeps with a driver, and ``sweep`` is about to get one: its run is behind if
        it was never ended, and ends with the next run of the sweep.
        """
        with self._database.write() as connection:
            left = _never_ended(connection, alive)
            ends = [
                {"kind": OutboxKind.SWEEP_ENDED, "sweep_id": id_, "created_at": datetime.now(UTC)}
                for id_, name in left
                if name != sweep
            ]
            if ends:
                connection.execute(insert(OutboxRow), ends)
            return len({(id_, "") for id_, _ in left} | outbox.behind(connection))


def _holders(connection: Connection, work: Collection[Work]) -> dict[Work, str]:
    query = select(Lease.trial_id, Lease.batch, Lease.driver_id)
    found: dict[Work, str] = {}
    for portion in portions({trial for trial, _ in work}):
        for trial, batch, driver in connection.execute(query.where(Lease.trial_id.in_(portion))):
            found[trial, batch] = driver
    return {each: found[each] for each in work if each in found}


def _never_ended(connection: Connection, alive: Collection[str]) -> list[tuple[int, str]]:
    """Sweeps that were begun once more than ended, and that nobody runs."""
    turn = case((OutboxRow.kind == OutboxKind.SWEEP_BEGUN, OutboxRow.sequence), else_=0)
    end = case((OutboxRow.kind == OutboxKind.SWEEP_ENDED, OutboxRow.sequence), else_=0)
    query = (
        select(Sweep.id, Sweep.name)
        .join(OutboxRow, OutboxRow.sweep_id == Sweep.id)
        .where(OutboxRow.trial_id.is_(None), Sweep.name.not_in(alive))
        .group_by(Sweep.id, Sweep.name)
        .having(func.max(turn) > func.max(end))
    )
    return [(row.id, row.name) for row in connection.execute(query)]


_BEGIN = (
    update(Lease)
    .where(Lease.trial_id == bindparam("of_trial"), Lease.batch == bindparam("at_batch"))
    .values(begun=True)
)
_IN_FLIGHT = (
    select(Lease.trial_id)
    .join(Trial, Trial.id == Lease.trial_id)
    .where(Lease.driver_id == bindparam("driver"), Lease.batch == THE_TRIAL, Lease.begun)
    .where(Trial.state.is_(None))
    .order_by(Lease.trial_id)
)
