"""Commands for API keys: ``keys add``, ``keys list``, ``keys revoke``; they start nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dashboards.stderr import log
from orchestrator.commands.console import (
    Json,
    LatencyMs,
    MinQuality,
    StoreUrl,
    show_rows,
    store_url,
)

group = typer.Typer(help="API keys of `paretoken serve`.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(group, name="keys")


@group.command()
def add(
    tenant: Annotated[str, typer.Argument(help="Whom the key is for.")],
    per_minute: Annotated[
        int, typer.Option(min=1, help="Requests that the tenant may send in a minute.")
    ] = 600,
    latency_ms: LatencyMs = None,
    min_quality: MinQuality = None,
    store: StoreUrl = None,
) -> None:
    """Print a new key. It is kept as a hash: nobody can show it again."""
    from orchestrator.keys import KeyFile, ServiceLevel, keys_file

    file = keys_file(store_url(store))
    level = ServiceLevel(latency_ms=latency_ms, min_quality=min_quality)
    typer.echo(KeyFile(file).add(tenant, per_minute, level))
    log(f"a new key of {tenant}; its hash is in {file}")


@group.command("list")
def list_(as_json: Json = False, store: StoreUrl = None) -> None:
    """Show whose keys there are."""
    from orchestrator.keys import KeyFile, keys_file

    rows = [
        {
            "key": key.id,
            "tenant": key.tenant,
            "per_minute": key.per_minute,
            "latency_ms": key.level.latency_ms,
            "min_quality": key.level.min_quality,
            "created": key.created.isoformat(timespec="seconds"),
        }
        for key in KeyFile(keys_file(store_url(store))).read()
    ]
    show_rows(as_json, rows, lambda: _table(rows))


def _table(rows: Sequence[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None)
    for name in ("key", "tenant", "per minute", "latency (ms)", "min quality", "created"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table if rows else "No keys: paretoken keys add TENANT"


@group.command()
def revoke(
    name: Annotated[str, typer.Argument(help="A key's id, or a tenant: all its keys.")],
    store: StoreUrl = None,
) -> None:
    """Take keys back; a running server refuses them at once."""
    from orchestrator.keys import KeyFile, keys_file

    for key in KeyFile(keys_file(store_url(store))).revoke(name):
        log(f"revoked key {key.id} of {key.tenant}")
