"""A real PostgreSQL, started for the tests and thrown away after them."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

PROGRAMS = ("initdb", "postgres")


@dataclass
class PostgresServer:
    """Databases on a loopback port; ``postgres`` may do everything without a password."""

    port: int
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template0") -> str:
        """A fresh copy of ``template``; its name."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self._execute(f"DROP DATABASE {database} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement)


@dataclass
class MortalServer(PostgresServer):
    """One that can be killed, and started again on the same data."""

    folder: Path = Path()
    stack: ExitStack = field(default_factory=ExitStack)

    def kill(self) -> None:
        """The server's first process, at once and without a word; the others follow it."""
        first = psutil.Process(int((self.folder / "data/postmaster.pid").read_text().split()[0]))
        others = first.children(recursive=True)
        first.kill()
        psutil.wait_procs(others, timeout=60)

    def revive(self) -> None:
        """Returns when it answers."""
        _wait_until_ready(self.stack.enter_context(_serve(self.folder, self.port)), self.port)


@contextmanager
def running() -> Iterator[PostgresServer]:
    """A server in a temporary folder. Skips the test where PostgreSQL is not installed."""
    with _folder() as folder, ExitStack() as stack:
        server = PostgresServer(_free_port())
        _wait_until_ready(stack.enter_context(_serve(folder, server.port)), server.port)
        yield server


@contextmanager
def mortal() -> Iterator[MortalServer]:
    """The same, to be killed."""
    with _folder() as folder, ExitStack() as stack:
        server = MortalServer(_free_port(), folder=folder, stack=stack)
        server.revive()
        yield server


@contextmanager
def _folder() -> Iterator[Path]:
    """An initialised one."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"PostgreSQL is not installed: no {', '.join(missing)} on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="paretoken-postgres-"))
    try:
        _initialise(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def _initialise(folder: Path) -> None:
    user = _unprivileged()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    command = ["initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **_identity())


@contextmanager
def _serve(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server lives as long as its standard input is open, so it dies with us however we die."""
    options = ["-D", f"{folder}/data", "-p", str(port), "-k", str(folder)]
    options += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(
            ["sh", "-c", _WHILE_STDIN_IS_OPEN, "sh", *options],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            **_identity(),
        ) as process,
    ):
        yield process  # leaving closes standard input and waits


_WHILE_STDIN_IS_OPEN = 'postgres "$@" & cat > /dev/null; kill -INT $!; wait'


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    address = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    for _ in range(600):
        with suppress(psycopg.OperationalError), psycopg.connect(address):
            return
        assert process.poll() is None, "PostgreSQL stopped"
        time.sleep(0.1)
    raise TimeoutError("PostgreSQL did not answer within a minute")


def _identity() -> dict[str, Any]:
    user = _unprivileged()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root. None for ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _free_port() -> int:
    """A port that is free now, below those that outgoing connections take."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
