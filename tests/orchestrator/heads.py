"""A head node started by the command that people start one with, and ended by us."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

PORTS = range(20000, 32000)
"""Below those that the system gives to outgoing connections."""
PATIENCE_SECONDS = 240
ATTEMPTS = 3
"""Ray gives a node 30 s to start, which a busy machine may need twice."""


@dataclass(frozen=True)
class Head:
    """Where a cluster answers."""

    jobs: str
    """Its job server."""
    gcs: str
    """What ``--address`` of ``paretoken run`` takes."""
    folder: Path
    """Sessions with their logs."""


@contextmanager
def head(folder: Path, num_cpus: int = 2, **variables: str) -> Iterator[Head]:
    """A cluster of one node with a job server, on free ports, gone with the block.

    Every port is said: Ray's agent wants 52365 on every machine, and without that one, which
    another cluster here may hold, it stays up and takes no job.
    """
    log = folder.with_suffix(".log")
    for _ in range(ATTEMPTS):
        started = _start(folder, log, num_cpus, variables)
        if started is not None:
            break
    else:
        raise AssertionError(log.read_text())
    process, answers = started
    try:
        yield answers
    finally:
        _end(process)


def _start(
    folder: Path, log: Path, num_cpus: int, variables: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Head] | None:
    gcs, dashboard, agent, node_manager, object_manager, metrics = _free(6)
    options = {
        "port": gcs,
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "node-manager-port": node_manager,
        "object-manager-port": object_manager,
        "metrics-export-port": metrics,
        "dashboard-host": "127.0.0.1",
        "num-cpus": num_cpus,
        "object-store-memory": 100 * 2**20,
        "temp-dir": folder,
    }
    ray = str(Path(sys.executable).parent / "ray")
    command = [ray, "start", "--head", "--disable-usage-stats", "--block"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=_environment(variables), stdout=output, stderr=output, cwd=folder.parent
        )
    while process.poll() is None:
        if "Ray runtime started" in log.read_text():
            return process, Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", folder)
        time.sleep(0.1)
    return None


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Ours, with this interpreter as ``python``: that is what a job's command finds."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **variables}


def _free(count: int) -> list[int]:
    """At random, because the test beside this one looks for some at the same moment."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The command and everything that it started, by their ids."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in family:
        if each.is_running():
            each.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for each in alive:
        each.kill()
    process.wait()
