"""`paretoken serve` in a process of its own, for the serving benchmarks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil


@contextmanager
def server(sweep: str, url: str, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """A healthy server's address and process."""
    port = free_port()
    command = [sys.executable, "-m", "orchestrator.cli", "serve", sweep, "--store", url]
    process = subprocess.Popen([*command, "--port", str(port), *options], stderr=sys.stderr)
    try:
        address = f"http://127.0.0.1:{port}"
        while not _is_healthy(address):
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        yield address, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def free_port() -> int:
    """Below those that the system hands out, which Ray's processes take."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(20_000 + probe.getsockname()[1] % 10_000)


def engine_bytes(server_process: psutil.Process) -> int:
    """Memory of the process with the models; what it shares with others counts in part (PSS)."""
    replicas = [
        process
        for process in server_process.children(recursive=True)
        if "ServeReplica" in process.name() + "".join(process.cmdline()[:1])
        and ":engine" in "".join(process.cmdline())
    ]
    (replica,) = replicas
    return int(replica.memory_full_info().pss)


def _is_healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=60).is_success
    except httpx.TransportError:
        return False
