"""Start and stop the server on this machine."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from ray import serve
from ray.serve.config import HTTPOptions

from orchestrator.cluster.connection import cluster
from orchestrator.serving.app import build_app
from orchestrator.serving.release import Release

START_SECONDS = 120.0
"""How long the server may take until it is healthy, once its models are loaded."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_QUIET = {"log_level": "ERROR", "enable_access_log": False}


def serve_sweep(
    release: Release, store_url: str, host: str = "127.0.0.1", port: int = 8000
) -> None:
    """Answer requests until Ctrl-C or SIGTERM; prints the address once the models answer.

    Questions about the sweep are answered from the store at ``store_url``.

    For the main thread of a process, because of the signals.

    Raises ValueError where the port is taken or the release is not what was measured.
    """
    if host not in LOOPBACK:
        _say(f"warning: whoever reaches {host} may ask; there are no keys")
    if release.shortfall:
        _say(release.shortfall)
    configurations = sum(len(workload.configurations) for workload in release.workloads)
    _say(f"starting {configurations} configurations of {release.sweep!r} (about half a minute) ...")
    with served(release, store_url, host, port) as url:
        signal.signal(signal.SIGTERM, _interrupt)  # left to Ray, it would abort
        _say(f"serving sweep {release.sweep!r} at {url} (documentation: {url}/docs)")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            _say("stopping")


@contextmanager
def served(release: Release, store_url: str, host: str, port: int) -> Iterator[str]:
    """A healthy server for the length of the block, in a Ray cluster of its own; its address."""
    _require_free(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    app = build_app(release, store_url)  # what is wrong with the release is said before Ray starts
    with cluster():
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(http_options=HTTPOptions(host=host, port=port), logging_config=_QUIET)
        try:
            serve.run(app, name=release.sweep, logging_config=_QUIET)
            _wait_until_healthy(url)
            yield url
        finally:
            serve.delete(release.sweep)  # lets requests end; the cluster takes the rest with it


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"cannot serve on {host}:{port} ({error.strerror}); choose another with --port"
            ) from None


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/healthz", timeout=START_SECONDS).is_success:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url}/healthz did not become healthy in {START_SECONDS:.0f} s")
        time.sleep(0.1)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
