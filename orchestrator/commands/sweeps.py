"""The commands ``run`` and ``status``; the second starts neither Ray nor torch nor MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.commands.console import (
    File,
    Json,
    StoreUrl,
    open_store,
    print_json,
    show,
    show_rows,
    store_url,
)


def run(
    file: File,
    as_json: Json = False,
    store: StoreUrl = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to use: auto or host:port. Default: a private one."),
    ] = None,
) -> None:
    """Run what is not measured yet; Ctrl-C stops cleanly, the same command continues."""
    from dashboards import tables
    from dashboards.rows import short_list
    from orchestrator.sweep import run_sweep

    done = run_sweep(file, store_url(store), address)
    if as_json:
        print_json(done.report.row())
    else:
        show(tables.frontier_table(short_list(done.rows)))
        show(done.summary)
    raise typer.Exit(done.report.exit_code)


def status(
    sweep: Annotated[str | None, typer.Argument(help="Only this sweep, with failures.")] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Sweeps and how far they are."""
    from dashboards import tables

    with open_store(store) as opened:
        rows = tables.status_rows(opened, sweep)
    show_rows(as_json, rows, lambda: tables.status_table(rows))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (run, status):
        app.command()(command)
