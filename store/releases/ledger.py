"""Releases and their steps in the database; rows are only ever added.

Two that append at the same time know of each other: a step has the number that follows the last
step its writer has seen, and the database takes each number once (compare and set).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from store.database import Database
from store.models import ReleaseRow, ReleaseStep
from store.releases.line import Entry, Line, Step, line_of
from store.releases.release import Release
from store.serialization import digest

P = ParamSpec("P")
T = TypeVar("T")
_ATTEMPTS: Final = 20


class LedgerError(ValueError):
    """A step that cannot be taken; the message says why, and what can."""


@dataclass(frozen=True)
class Signed:
    """Who takes a step, and why."""

    who: str
    why: str


@dataclass(frozen=True)
class Frozen:
    """A release as it was written down."""

    sweep: str
    number: int
    """1, 2, 3 ... within the sweep."""
    digest: str
    """Hash of ``content``, by which it is checked whenever it is read."""
    content: dict[str, Any]
    """Configurations with what was measured, and the fingerprints of weights, data and methods."""
    environment: dict[str, Any]
    """Code revision, package versions and machine that it was frozen with."""
    created_at: datetime

    @property
    def name(self) -> str:
        """As commands take it: ``SWEEP@NUMBER``."""
        return f"{self.sweep}@{self.number}"

    @property
    def release(self) -> Release:
        """The content as a release: workloads, configurations and what was measured of them."""
        return Release.model_validate(self.content)


def _retried(action: Callable[P, T]) -> Callable[P, T]:
    """Again where another process took the number first."""

    @wraps(action)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_ATTEMPTS - 1):
            with suppress(IntegrityError):
                return action(*args, **kwargs)
        return action(*args, **kwargs)

    return repeated


class Ledger:
    """The releases of one database. Every call is one transaction."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        """Give connections back."""
        self._database.close()

    @_retried
    def freeze(
        self, sweep: str, content: dict[str, Any], environment: dict[str, Any], signed: Signed
    ) -> tuple[Frozen, bool]:
        """Write a release down; the newest one where that has the same content, and False."""
        newest = self.newest(sweep)
        if newest is not None and (last := self.release(sweep, newest)).digest == digest(content):
            return last, False
        frozen = Frozen(
            sweep, (newest or 0) + 1, digest(content), content, environment, datetime.now(UTC)
        )
        with self._database.write() as connection:
            connection.execute(insert(ReleaseRow), vars(frozen))
            sequence = _sequence(connection, sweep) + 1
            _insert(connection, sweep, _entry(sequence, frozen.number, Step.FROZEN, signed, {}))
        return frozen, True

    @_retried
    def append(
        self,
        sweep: str,
        number: int,
        step: Step,
        signed: Signed,
        evidence: Mapping[str, Any] | None = None,
        after: int | None = None,
    ) -> Entry:
        """Take a step.

        With ``after``, only as the next one behind that sequence number: LedgerError where somebody
        was faster. LedgerError, too, for a step that the line does not allow.
        """
        with self._database.write() as connection:
            line = line_of(_entries(connection, sweep))
            if after is not None and line.sequence != after:
                raise LedgerError(f"the ledger of {sweep!r} has gone on since step {after}")
            if (reason := line.why_not(step, number)) is not None:
                raise LedgerError(f"sweep {sweep!r}: {reason}")
            entry = _entry(line.sequence + 1, number, step, signed, dict(evidence or {}))
            _insert(connection, sweep, entry)
        return entry

    def release(self, sweep: str, number: int) -> Frozen:
        """One release. Raises ValueError for one that is not there or is no longer as frozen."""
        where = (ReleaseRow.sweep == sweep, ReleaseRow.number == number)
        with self._database.read() as connection:
            row = connection.execute(select(ReleaseRow.__table__).where(*where)).one_or_none()
        if row is None:
            raise ValueError(
                f"sweep {sweep!r} has no release {number}; see: paretoken releases {sweep}"
            )
        frozen = Frozen(**row._mapping)
        if digest(frozen.content) != frozen.digest:
            raise ValueError(f"release {frozen.name} is not what was frozen: its content changed")
        return frozen

    def newest(self, sweep: str) -> int | None:
        """Number of the newest release; None where there is none."""
        with self._database.read() as connection:
            return _newest(connection, sweep)

    def sweeps(self) -> list[str]:
        """Sweeps that have releases, by name."""
        names = select(ReleaseRow.sweep).distinct().order_by(ReleaseRow.sweep)
        with self._database.read() as connection:
            return list(connection.execute(names).scalars())

    def entries(self, sweep: str) -> list[Entry]:
        """Every step of a sweep's releases, in order."""
        with self._database.read() as connection:
            return _entries(connection, sweep)

    def line(self, sweep: str) -> Line:
        """Where the steps lead: the active release, the one before it, the canary."""
        return line_of(self.entries(sweep))

    def sequence(self, sweep: str) -> int:
        """Number of the last step; 0 before the first. Cheap: for those who follow a line."""
        with self._database.read() as connection:
            return _sequence(connection, sweep)


def _entry(
    sequence: int, number: int, step: Step, signed: Signed, evidence: dict[str, Any]
) -> Entry:
    return Entry(sequence, number, step, datetime.now(UTC), signed.who, signed.why, evidence)


def _insert(connection: Connection, sweep: str, entry: Entry) -> None:
    connection.execute(insert(ReleaseStep), {"sweep": sweep, **vars(entry)})


def _entries(connection: Connection, sweep: str) -> list[Entry]:
    columns = [getattr(ReleaseStep, name) for name in Entry.__dataclass_fields__]
    rows = select(*columns).where(ReleaseStep.sweep == sweep).order_by(ReleaseStep.sequence)
    return [Entry(*row) for row in connection.execute(rows)]


def _sequence(connection: Connection, sweep: str) -> int:
    last = select(func.max(ReleaseStep.sequence)).where(ReleaseStep.sweep == sweep)
    return connection.execute(last).scalar() or 0


def _newest(connection: Connection, sweep: str) -> int | None:
    last = select(func.max(ReleaseRow.number)).where(ReleaseRow.sweep == sweep)
    return connection.execute(last).scalar()
