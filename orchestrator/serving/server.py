"""Start and stop the server on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from ray import serve

from dashboards.stderr import log
from methods.naming import counted
from orchestrator.cluster.connection import cluster
from orchestrator.keys import UNPROMISED, KeyFile, ServiceLevel, keys_file
from orchestrator.serving.app import QUIET, answering, bind, run
from orchestrator.serving.listening import listening
from store.releases.release import Release

START_SECONDS = 120.0
"""How long the server may take until it is healthy, once its models are loaded."""
HA_PROXY = "RAY_SERVE_ENABLE_HA_PROXY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class TLS:
    """Files in PEM format."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Address:
    """Where a server listens, and whom it lets in."""

    host: str = "127.0.0.1"
    port: int = 8000
    tls: TLS | None = None
    keys: Path | None = None
    """A file of API keys; None lets everybody in."""
    level: ServiceLevel = UNPROMISED
    """What is promised to callers whose key promises nothing else."""

    @property
    def url(self) -> str:
        """What callers write in front of a path."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def require_safe(self) -> None:
        """Raise ValueError for what strangers could reach without a key, and for missing files."""
        if self.keys is None and self.host not in LOOPBACK:
            raise ValueError(f"{self.host} is open to other machines: it requires API keys")
        if os.environ.get(HA_PROXY) == "1":
            raise ValueError(
                f"{HA_PROXY}=1 is for clusters, where it listens on all interfaces "
                f"(docs/sizing.md); unset it"
            )
        if self.keys is not None:
            KeyFile(self.keys).require()
        if self.tls is not None:
            _require_certificate(self.tls)


def address_for(
    store_url: str, host: str, port: int, tls: TLS | None = None, require_keys: bool = False
) -> Address:
    """With the store's keys where strangers may reach ``host``, or where they are asked for."""
    keys = keys_file(store_url) if require_keys or host not in LOOPBACK else None
    return Address(host, port, tls, keys)


def serve_sweep(release: Release, store_url: str, address: Address) -> None:
    """Answer requests until Ctrl-C or SIGTERM; prints the address once the models answer.

    Questions about the sweep are answered from the store at ``store_url``.

    For the main thread of a process, because of the signals.

    Raises ValueError where the port is taken, strangers would need no key, or the release is not
    what was measured.
    """
    if address.tls is None and address.host not in LOOPBACK:
        log("warning: keys and answers travel in clear; give --tls-cert and --tls-key")
    if release.shortfall:
        log(release.shortfall)
    configurations = sum(len(workload.configurations) for workload in release.workloads)
    many = counted(configurations, "configuration")
    log(f"starting {many} of {release.sweep!r} (about half a minute) ...")
    with served(release, store_url, address) as (url, http):
        signal.signal(signal.SIGTERM, _interrupt)  # left to Ray, it would abort
        log(f"serving sweep {release.sweep!r} at {url} (documentation: {url}/docs)")
        try:
            while http.is_alive():  # a `join` that Ctrl-C interrupts takes the thread for ended
                time.sleep(0.5)
        except KeyboardInterrupt:
            log("stopping")
        else:
            raise RuntimeError("the HTTP server ended by itself; its errors are above")


@contextmanager
def served(
    release: Release, store_url: str, address: Address
) -> Iterator[tuple[str, threading.Thread]]:
    """A healthy server for the length of the block, in a Ray cluster of its own.

    Its address, and the thread that answers.
    """
    address.require_safe()
    with ThreadPoolExecutor(1) as binding, _socket_at(address.host, address.port) as at:
        # imports models and reads weights while Ray starts, which waits for processes of its own
        bound = binding.submit(bind, release, store_url)
        with cluster():
            logging.getLogger("ray.serve").setLevel(logging.ERROR)
            serve.start(proxy_location="Disabled", logging_config=QUIET)
            app = answering(run(bound.result(), release.sweep), address.keys, address.level)
            with listening(app, at, **_files(address.tls)) as thread:
                _wait_until_healthy(address.url)
                yield address.url, thread


def _files(tls: TLS | None) -> dict[str, str]:
    if tls is None:
        return {}
    return {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}


def _require_certificate(tls: TLS) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            tls.certificate,
            tls.key,
            password="",  # no prompt for one
        )
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"{tls.certificate} and {tls.key} are not a certificate and its private key: {error}"
        ) from None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _socket_at(host: str, port: int) -> socket.socket:
    """A socket at the address; ``::`` takes IPv4 as well. Raises ValueError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ValueError(
            f"cannot serve on {host}:{port} ({error.strerror}); choose another with --port"
        ) from None
    return bound


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            # our own server, by an address that its certificate need not name
            answer = httpx.get(f"{url}/healthz", timeout=START_SECONDS, verify=False)
            if answer.is_success:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url}/healthz did not become healthy in {START_SECONDS:.0f} s")
        time.sleep(0.1)
