"""The dashboard behind a port of this machine, for as long as a block lasts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from dash import Dash
from werkzeug.serving import make_server

from dashboards.app.factory import build_dashboard
from dashboards.mlflow_server import address, free_port

_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


@contextmanager
def dashboard(store_url: str, host: str, **options: Any) -> Iterator[str]:
    """The dashboard of a store on a free port of ``host``; its address.

    ``options`` are those of :func:`dashboards.app.factory.build_dashboard`.
    """
    port = free_port(host)
    with dashboard_server(build_dashboard(store_url, **options), host, port):
        yield address(host, port)


@contextmanager
def dashboard_server(app: Dash, host: str, port: int) -> Iterator[None]:
    """Answer in threads of this process; loopback only, and only to those who call it by its name.

    Anything else in a request's ``Host`` may be DNS rebinding and is refused. Raises OSError where
    the port is taken.
    """
    app.server.config["TRUSTED_HOSTS"] = [*_NAMES, host]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request otherwise
    server = make_server(host, port, app.server, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
