"""What is killed in the matrix, each in its own way; ``strike`` returns what goes on after it."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psutil

from dashboards.mlflow_server import free_port, mlflow_server
from tests.postgres import MortalServer
from tests.torture.battlefield import Battlefield, end, kill, named, wait_until

Process = subprocess.Popen[str]


class Victim(Protocol):
    """Something that a sweep must survive."""

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        """Kill it while ``process`` drives the sweep; the process that drives it from now on."""
        ...


class Driver:
    """The command itself. The next one begins at once."""

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        end(process)
        wait_until(lambda: not any(map(psutil.pid_exists, field.workers)))
        return field.start()


class Twin:
    """The command, while another one shares its sweep: the first strike starts that, the second
    kills.
    """

    def __init__(self) -> None:
        self._other: Process | None = None

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        other = self._other
        if other is None:
            wait_until(lambda: bool(field.drivers) or process.poll() is not None)
            self._other = started = field.start()
            ended = (process, started)
            wait_until(lambda: len(field.drivers) > 1 or any(p.poll() is not None for p in ended))
            return process
        end(process)
        self._other = None
        return other


class OneProcess:
    """A process of the sweep's, by its title."""

    def __init__(self, title: str) -> None:
        self._title = title

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        wait_until(lambda: bool(named(process, self._title)) or process.poll() is not None)
        found = sorted(named(process, self._title))
        with suppress(ProcessLookupError):  # its last trial was done just now
            if found:
                kill(chance.choice(found))
        return process


class DatabaseServer:
    """PostgreSQL; it comes back after some seconds."""

    def __init__(self, server: MortalServer, seconds: float) -> None:
        self._server, self._seconds = server, seconds

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        self._server.kill()
        time.sleep(self._seconds * chance.uniform(0.5, 1.5))
        self._server.revive()
        return process


class Disk:
    """The one under the database: it is full for some seconds."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._ballast, self._seconds = folder / "ballast", seconds

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        time.sleep(self._seconds * chance.uniform(0.5, 1.5))
        self._ballast.unlink()
        return process


class Node:
    """A machine of the cluster; another one has come before."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._node = self._add()

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        lost, self._node = self._node, self._add()
        self._cluster.remove_node(lost, allow_graceful=False)
        return process

    def _add(self) -> Any:
        from tests.orchestrator.test_nodes import add

        return add(self._cluster, num_cpus=2)


class MlflowServer:
    """``mlflow server``, as ``paretoken ui`` starts it; another one takes its place."""

    def __init__(self, stack: ExitStack, url: str) -> None:
        self._stack, self._url = stack, url
        self._server = self._start()

    def strike(self, field: Battlefield, process: Process, chance: random.Random) -> Process:
        for child in psutil.Process(self._server.pid).children(recursive=True):
            child.kill()
        kill(self._server.pid)
        self._server = self._start()
        return process

    def _start(self) -> Any:
        host = "127.0.0.1"
        return self._stack.enter_context(mlflow_server(self._url, host, free_port(host)))


@contextmanager
def cluster(notes: Path) -> Iterator[Any]:
    """A head that runs no trials; workers of its nodes leave their notes there."""
    import os

    from ray.cluster_utils import Cluster

    from tests.orchestrator.test_nodes import add
    from tests.torture.quick import NOTES

    os.environ[NOTES] = str(notes)
    started = Cluster()
    try:
        add(started, num_cpus=0)
        yield started
    finally:
        started.shutdown()
