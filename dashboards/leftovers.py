"""MLflow servers of earlier calls: those whose command was killed are ended, others pointed out.

A server carries in its environment which store it shows and who started it; nothing is written to
disk that could be stale itself.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import psutil

VARIABLE: Final = "PARETOKEN_UI"
_PATIENCE_S: Final = 5.0


def mark(store_url: str) -> dict[str, str]:
    """What a server that this process starts carries in its environment."""
    return {VARIABLE: f"{_digest(store_url)} {_identity(psutil.Process())}"}


def clear_up(store_url: str) -> Iterator[str]:
    """End servers of the store that nobody answers for; a sentence for each server found."""
    for server, starter in _servers(store_url):
        if starter is None:
            _end(server)
            yield f"Ended an MLflow server that an earlier call left behind (process {server.pid})."
        elif starter != os.getpid():
            yield f"Another call (process {starter}) shows this store already."


def _servers(store_url: str) -> Iterator[tuple[psutil.Process, int | None]]:
    """Leaders of their process groups, each with the process that started it, if it still runs."""
    wanted = _digest(store_url)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            value = process.environ().get(VARIABLE, "")
            if value.startswith(wanted) and os.getpgid(process.pid) == process.pid:
                yield process, _alive(value.partition(" ")[2])


def _alive(identity: str) -> int | None:
    """The process, unless it has ended; another one may have its number since."""
    number = int(identity.partition(" ")[0])
    with suppress(psutil.NoSuchProcess):
        if _identity(psutil.Process(number)) == identity:
            return number
    return None


def _identity(process: psutil.Process) -> str:
    return f"{process.pid} {process.create_time()}"


def _end(server: psutil.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, number)
        with suppress(psutil.TimeoutExpired):
            server.wait(_PATIENCE_S)
            return


def _digest(store_url: str) -> str:
    return hashlib.sha256(store_url.encode()).hexdigest()[:16]
