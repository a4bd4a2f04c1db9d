"""``mlflow server`` over the store's database as a child process that never outlives its block."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

import httpx

from dashboards.leftovers import mark
from store.url import artifacts_folder, masked

_PORTS = range(20_000, 32_768)
"""Below those that systems give to outgoing connections."""
_START_SECONDS = 180.0
"""The first start on a database makes MLflow's tables."""
_STOP_SECONDS = 10.0


@contextmanager
def mlflow_server(store_url: str, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server, answering; its whole process group is gone when the block ends.

    The database URL travels in the environment, where other users of the machine cannot read its
    password. Raises ChildProcessError with the server's last words if it does not come up.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _command(store_url, host, port),
            env={**os.environ, **_environment(store_url)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end the whole group
        )
        try:
            _wait_until_it_answers(process, f"{address(host, port)}/health", log)
            yield process
        finally:
            _stop(process)


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"http://{reachable}:{port}"


def require_free(host: str, port: int) -> None:
    """Raises ValueError if something listens there already, or the host is not ours."""
    try:
        _bind(host, port)
    except OSError as error:
        raise ValueError(
            f"port {port} on {host} cannot be used ({error.strerror}); give another, or none to "
            "have a free one chosen"
        ) from None


def free_port(host: str) -> int:
    """A port that is free now. Raises ValueError if the host is not ours."""
    for port in random.sample(_PORTS, 100):
        try:
            _bind(host, port)
        except OSError:
            continue
        return port
    raise ValueError(f"no port could be opened on {host!r}; is it an address of this machine?")


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _command(store_url: str, host: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", host, "--port", str(port)),
        *("--workers", "1"),  # several would wait for each other's locks on SQLite
        *("--default-artifact-root", artifacts_folder(store_url).as_uri()),
        *("--allowed-hosts", ",".join(_allowed_hosts(host))),
        *("--uvicorn-opts", "--log-level warning"),
    ]


def _allowed_hosts(host: str) -> list[str]:
    """Names by which a browser may call the server; anything else may be DNS rebinding."""
    names = dict.fromkeys(("localhost", "127.0.0.1", host))
    return [pattern for name in names for pattern in (name, f"{name}:*")]


def _environment(store_url: str) -> dict[str, str]:
    return {
        **mark(store_url),
        "MLFLOW_BACKEND_STORE_URI": store_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # there is nothing to run in a viewer
    }


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ChildProcessError(f"mlflow server ended at once:\n{_last_words(log)}")
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise ChildProcessError(
        f"mlflow server did not answer within {_START_SECONDS:.0f} s:\n{_last_words(log)}"
    )


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(masked(line) for line in lines[-15:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and what it started, which may outlive it for a moment."""
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
