"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.commands.console import StoreUrl, Sweep, open_store, show


def report(
    sweep: Sweep,
    format_: Annotated[
        Literal["html", "pdf", "md", "latex"] | None,
        typer.Option("--format", help="Default: what --out ends in, else html."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File; default: ./SWEEP.FORMAT.")] = None,
    store: StoreUrl = None,
) -> None:
    """One file for reviewers: figures, tables, citations, conditions, how to reproduce it."""
    from dashboards.report.writing import write_report

    with open_store(store) as opened:
        show(str(write_report(opened, sweep, format_, out)))


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(report)
