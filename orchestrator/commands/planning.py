"""Commands before a run: ``plan`` and ``diff``. They start no Ray and write nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from dashboards.stderr import log
from orchestrator.commands.console import (
    File,
    Json,
    StoreUrl,
    open_store,
    print_json,
    show,
    show_rows,
)


def plan(
    file: File,
    probe: Annotated[
        bool, typer.Option("--probe", help="Run a few short trials where there are no past ones.")
    ] = False,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show what a sweep would run, what it will take, and what cannot run and why.

    Writes nothing. Times and memory are those of past trials in the store.
    """
    from rich.console import Group

    from dashboards import price_tables, tables
    from orchestrator.planning.pricing import price
    from sweeps.load import load_sweep
    from sweeps.plan import plan as make_plan
    from sweeps.rungs import searched

    spec = load_sweep(file)
    planned, race = searched(spec, make_plan(spec))
    with open_store(store) as opened:
        row = price(spec, planned, opened, log if probe else None)
    show_rows(
        as_json,
        {**tables.plan_rows(planned, race), **row},
        lambda: Group(tables.plan_table(planned, race), price_tables.price_parts(row)),
    )


def diff(file: File, as_json: Json = False, store: StoreUrl = None) -> None:
    """What `run` of a grid would measure, reuse and leave behind, and why. Writes nothing."""
    from dashboards import difference_tables
    from store.comparison.difference import difference
    from sweeps.load import load_sweep
    from sweeps.mistakes import SweepFileError
    from sweeps.plan import plan as make_plan
    from sweeps.search import Grid

    spec = load_sweep(file)
    if not isinstance(spec.search, Grid):
        depends = f"what a {spec.search.strategy} measures depends on its results, so that diff"
        sentence = f"{depends} knows grids only: paretoken plan says how much it is at most"
        raise SweepFileError([spec.mistake(sentence, ("search",))])
    planned = make_plan(spec)
    with open_store(store) as opened:
        found = difference(opened, spec.name, planned.trials)
    num_impossible = len(planned.impossible)
    if as_json:
        print_json(difference_tables.difference_rows(found, num_impossible))
    else:
        show(difference_tables.difference_table(found, num_impossible))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (plan, diff):
        app.command()(command)
