"""Commands that answer until Ctrl-C: ``serve`` and ``ui``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.console import (
    LatencyMs,
    MinQuality,
    StoreUrl,
    Sweep,
    open_store,
    store_url,
)

if TYPE_CHECKING:
    from dashboards.app.seen import Provenance, Seen


def serve(
    sweep: Sweep,
    host: Annotated[
        str, typer.Option(help="Address to bind; any but this machine's own requires API keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    require_keys: Annotated[
        bool, typer.Option("--require-keys", help="On 127.0.0.1 as well, e.g. behind a proxy.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, in PEM format.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    latency_ms: LatencyMs = None,
    min_quality: MinQuality = None,
    store: StoreUrl = None,
) -> None:
    """Answer requests from the sweep's frontier, each within its budget."""
    from orchestrator.keys import ServiceLevel
    from orchestrator.serving import TLS, address_for, release_of, serve_sweep

    if (tls_cert is None) != (tls_key is None):
        raise ValueError("give --tls-cert and --tls-key together")
    tls = TLS(tls_cert, tls_key) if tls_cert and tls_key else None
    with open_store(store) as opened:
        release = release_of(opened, sweep)
    level = ServiceLevel(latency_ms=latency_ms, min_quality=min_quality)
    address = replace(address_for(opened.url, host, port, tls, require_keys), level=level)
    serve_sweep(release, opened.url, address)


def ui(
    port: Annotated[int | None, typer.Option(help="Of the MLflow UI. Default: a free one.")] = None,
    serve_url: Annotated[
        str | None, typer.Option(help="A running `paretoken serve`, to watch its traffic.")
    ] = None,
    store: StoreUrl = None,
) -> None:
    """Open the sweeps in the dashboard and in the MLflow UI."""
    from dashboards.ui import serve_ui

    url = store_url(store)
    serve_ui(url, port=port, provenance=_provenance(url), serve_url=serve_url)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (serve, ui):
        app.command()(command)


def _provenance(url: str) -> Provenance:
    """Runs a trial on one example; torch is imported when somebody looks at one."""

    def look(trial: str, example: int) -> Seen:
        from orchestrator.measurement import seen

        return seen.look(url, trial, example)

    return look
