"""The sweeps of a store in the dashboard and the MLflow UI, side by side."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from dashboards.app.seen import Provenance
from dashboards.app.server import dashboard
from dashboards.leftovers import clear_up
from dashboards.mlflow_links import links
from dashboards.mlflow_server import address, free_port, mlflow_server, require_free
from dashboards.stderr import log
from store.repository import Store
from store.url import absolute, masked

HOST: Final = "127.0.0.1"


def serve_ui(
    store_url: str,
    port: int | None = None,
    provenance: Provenance | None = None,
    serve_url: str | None = None,
) -> None:
    """Serve dashboard and MLflow UI until Ctrl-C or SIGTERM, after printing links to the sweeps.

    ``port`` is MLflow's; None takes a free one below 32768, as the dashboard does. ``provenance``
    and ``serve_url`` are as in :func:`dashboards.app.factory.build_dashboard`. Raises ValueError if
    the store has no sweep yet or the port is taken, ChildProcessError if MLflow does not come up or
    ends by itself.
    """
    url = absolute(store_url)
    _require_sweeps(url)
    if port is None:
        port = free_port(HOST)
    else:
        require_free(HOST, port)
    pages = {"provenance": provenance, "serve_url": serve_url, "mlflow_url": address(HOST, port)}
    with _stopped_by_signals(), dashboard(url, HOST, **pages) as place:
        log(f"Dashboard: {place}")
        _serve(url, port)
    log("The MLflow UI has ended.")


def _serve(url: str, port: int) -> None:
    for line in clear_up(url):
        log(line)
    log(f"Starting the MLflow UI on {masked(url)} ...")
    with mlflow_server(url, HOST, port) as process:
        for line in links(url, address(HOST, port)):
            log(line)
        log("Ctrl-C ends it.")
        process.wait()
        raise ChildProcessError(f"mlflow server ended by itself with code {process.returncode}")


def _require_sweeps(url: str) -> None:
    with Store(url) as store:
        if store.sweeps():
            return
    raise ValueError(f"store {masked(url)} has no sweep yet; make one with: paretoken run FILE")


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Leave the block quietly on Ctrl-C and on SIGTERM, through every ``finally``."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
