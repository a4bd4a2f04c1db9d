"""Commands before a run: ``plan`` and ``diff``. They start no Ray and write nothing."""

from __future__ import annotations

import typer

from orchestrator.console import File, Json, StoreUrl, open_store, show_rows


def plan(file: File, as_json: Json = False) -> None:
    """Show what a sweep would run, and what cannot run and why. Writes nothing."""
    from dashboards import tables
    from sweeps.load import load_sweep
    from sweeps.plan import plan as make_plan

    planned = make_plan(load_sweep(file))
    show_rows(as_json, tables.plan_rows(planned), lambda: tables.plan_table(planned))


def diff(file: File, as_json: Json = False, store: StoreUrl = None) -> None:
    """What `run` would measure, reuse and leave behind, and why. Writes nothing."""
    from dashboards import difference_tables
    from store.difference import difference
    from sweeps.load import load_sweep
    from sweeps.plan import plan as make_plan

    spec = load_sweep(file)
    planned = make_plan(spec)
    with open_store(store) as opened:
        found = difference(opened, spec.name, planned.trials)
    rows = difference_tables.difference_rows(found, len(planned.impossible))
    show_rows(as_json, rows, lambda: difference_tables.difference_table(found, rows))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (plan, diff):
        app.command()(command)
