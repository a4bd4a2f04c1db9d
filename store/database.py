"""Connections: SQLite or PostgreSQL, migrated on first use, with locks between processes.

SQLite runs in WAL mode with ``synchronous=NORMAL``: a transaction that returned survives any death
of the process, ``kill -9`` included; a crash of the operating system or a power cut may take the
last transactions, never more, and never corrupts. PostgreSQL survives both.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError

from store import migrations
from store.models import Base
from store.serialization import to_json
from store.url import absolute, masked, scrubbed, sqlite_file

OUTAGE_SECONDS = 600.0
"""How long a running sweep waits for a database that has gone away."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_BUSY_MILLISECONDS = 60_000
_LOCKS = {"migrate": 7_203_001, "mirror": 7_203_002}
"""Advisory lock keys on PostgreSQL; on SQLite the names become lock files beside the database."""

_LOG = logging.getLogger("paretoken.store")
T = TypeVar("T")


class StoreUnavailableError(ConnectionError):
    """The database cannot be opened; the message names it with passwords masked."""

    def __init__(self, message: str, away: bool = False) -> None:
        super().__init__(message)
        self.away = away
        """Whether nothing answered; waiting may help."""


class Database:
    """One database, opened lazily; safe to use from several threads and processes.

    One that was open before and does not answer now is waited for up to ``patience_s``, and the log
    says so. A transaction that was under way when it went away fails all the same.
    """

    def __init__(self, url: str, patience_s: float = 0.0) -> None:
        self.url = absolute(url)
        self.file = sqlite_file(self.url)
        self.patience_s = patience_s

    @cached_property
    def engine(self) -> Engine:
        """The engine of a database that has our tables. Raises StoreUnavailableError."""
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        engine = _engine(self.url)
        try:
            with self.lock("migrate", engine), engine.connect() as connection:
                migrations.upgrade(connection)
        except DatabaseError as error:
            engine.dispose()
            message = f"cannot open {masked(self.url)}: {scrubbed(str(error.orig))}"
            raise StoreUnavailableError(message, away=is_away(error)) from None
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look at the data; a missing SQLite file is empty, and is not made."""
        there = self.file is None or "engine" in self.__dict__ or self.file.exists()
        with self._connection() if there else self._nothing() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, committed at the end and rolled back by an exception."""
        with self._connection(immediate=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def lock(self, name: str, engine: Engine | None = None) -> Iterator[None]:
        """Wait until no other process holds this lock; it falls with the process that holds it."""
        if self.file is not None:
            with open(f"{self.file}.{name}.lock", "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        with engine.connect() if engine else self._connection() as connection:
            held = connection.execution_options(isolation_level="AUTOCOMMIT")
            held.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCKS[name]})
            try:
                yield
            finally:
                held.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCKS[name]})

    def _connection(self, **options: Any) -> Connection:
        name = masked(self.url)
        engine = self.engine.execution_options(store=name, **options)
        return patiently(engine.connect, self.patience_s, name)

    @contextmanager
    def _nothing(self) -> Iterator[Connection]:
        engine = _engine("sqlite://")
        with engine.connect().execution_options(store=masked(self.url)) as connection:
            Base.metadata.create_all(connection)
            yield connection
        engine.dispose()

    def close(self) -> None:
        """Give connections back; the next use opens new ones."""
        if "engine" in self.__dict__:
            self.engine.dispose()
            del self.engine


def patiently(action: Callable[[], T], seconds: float, name: str) -> T:
    """Do it, again and again while database ``name`` does not answer, for so long at most.

    ``action`` must bear being repeated.
    """
    began = time.monotonic()
    pauses = (min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number) for number in count())
    for pause in pauses:
        try:
            done = action()
        except (OperationalError, StoreUnavailableError) as error:
            waited = time.monotonic() - began
            if not is_away(error) or waited + pause > seconds:
                raise
            if pause == _FIRST_PAUSE:
                _LOG.warning("%s does not answer; trying again for %.0f s", name, seconds)
            time.sleep(pause)
        else:
            if pause != _FIRST_PAUSE:
                _LOG.warning("%s answers again, %.0f s later", name, time.monotonic() - began)
            return done
    raise AssertionError("pauses never end")


def is_away(error: Exception) -> bool:
    """Whether the database's server has gone, or is on its way down or up."""
    if isinstance(error, StoreUnavailableError):
        return error.away
    if not isinstance(error, OperationalError) or isinstance(error.orig, sqlite3.Error):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))  # no connection, or on its way


def relax(connection: Any) -> None:
    """Make a SQLite connection wait for writers, and commit without waiting for the disk."""
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA synchronous = NORMAL")


def _engine(url: str) -> Engine:
    engine = create_engine(url, json_serializer=to_json, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    relax(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA mmap_size = 268435456")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer: it fails at
    # once. Those that mean to write say so at the start and wait their turn.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
