"""Statements that both databases understand, in portions that both accept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, ScalarSelect, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, aliased

from store.models import Attempt, Base, Environment, SweepTrial, Trial
from store.serialization import digest
from store.url import scrubbed

T = TypeVar("T")
_PORTION = 10_000
"""Bound parameters in one statement; SQLite takes 32,766, PostgreSQL 65,535."""

PLACED = (
    SweepTrial.workload,
    Trial.id,
    Trial.method,
    SweepTrial.keep_label,
    Trial.schedule,
    Trial.seed,
)
"""What says to people which trial of a plan a row is about."""


def last_attempt() -> ScalarSelect[int]:
    """Id of the last attempt at the trial that the surrounding statement is about."""
    each = aliased(Attempt)
    ids = select(func.max(each.id)).where(each.trial_id == Trial.id)
    return ids.correlate(Trial).scalar_subquery()


def num_attempts() -> ScalarSelect[int]:
    """Number of attempts at the trial that the surrounding statement is about."""
    each = aliased(Attempt)
    rows = select(func.count(each.id)).where(each.trial_id == Trial.id)
    return rows.correlate(Trial).scalar_subquery()


def insert_new(connection: Connection, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows whose keys are free and leave the others as they are."""
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))


def keep_environments(connection: Connection, contents: Iterable[dict[str, Any]]) -> None:
    """Keep each once, by its digest, in an order that lets writers meet without a deadlock."""
    by_digest = {digest(content): content for content in contents}
    rows = [{"id": id_, "content": content} for id_, content in sorted(by_digest.items())]
    insert_new(connection, Environment, rows)


def storable(text: str) -> str:
    """Words of a failure as every database takes them, without passwords."""
    encoded = scrubbed(text).encode("utf-8", "backslashreplace")  # names of files hold anything
    return encoded.decode("utf-8").replace("\0", r"\0")


def portions(values: Iterable[T], longest: int = _PORTION) -> Iterator[list[T]]:
    """The values in lists short enough for ``IN``."""
    everything = list(values)
    for start in range(0, len(everything), longest):
        yield everything[start : start + longest]


def present(
    connection: Connection, column: InstrumentedAttribute[str], values: Iterable[str]
) -> set[str]:
    """Those of ``values`` that the column holds."""
    found: set[str] = set()
    for portion in portions(values):
        found.update(connection.execute(select(column).where(column.in_(portion))).scalars())
    return found
