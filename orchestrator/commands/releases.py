"""Commands for releases: ``release``, ``releases``, ``rollout``, ``rollback``, ``size``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dashboards.stderr import log
from orchestrator.commands.console import (
    Json,
    StoreUrl,
    Sweep,
    open_store,
    show_rows,
    store_url,
)

if TYPE_CHECKING:
    from orchestrator.releases.rollout import Office
    from store.releases.ledger import Ledger


def _share(text: str) -> float:
    """A share from ``10%`` or ``0.1``. Raises BadParameter for anything else."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise typer.BadParameter(f"{text!r} is no share of the requests such as 10% or 0.1")
    return value


Why = Annotated[str, typer.Option(help="For the ledger.", show_default=False)]
Who = Annotated[str | None, typer.Option("--by", help="Default: USER@HOST.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (release, releases, rollout, rollback, size):
        app.command()(command)


def release(
    sweep: Sweep,
    points: Annotated[
        list[str] | None,
        typer.Option("--point", help="Trial id or METHOD@KEEP; default: the whole frontier."),
    ] = None,
    why: Why = "",
    who: Who = None,
    store: StoreUrl = None,
) -> None:
    """Freeze the frontier of a sweep, check that it still is what was measured, register it."""
    from orchestrator.releases.rollout import signed

    with _office(store) as office:
        frozen = office.release(sweep, points or [], signed(why, who), log)
    typer.echo(frozen.name)


def releases(
    sweep: Annotated[str | None, typer.Argument(help="Of this sweep, with every step.")] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show the releases, and which of them have traffic."""
    from dashboards import release_tables

    with _ledger(store) as ledger:
        if sweep is None:
            rows = release_tables.lines(ledger)
            show_rows(as_json, rows, lambda: release_tables.lines_table(rows))
        else:
            steps = release_tables.steps(ledger, sweep)
            show_rows(as_json, steps, lambda: release_tables.steps_table(steps))


def rollout(
    name: Annotated[str, typer.Argument(metavar="SWEEP[@NUMBER]", help="Default: the newest.")],
    canary: Annotated[
        float,
        typer.Option(
            parser=_share, metavar="SHARE", help="Of the requests at first; 0: all at once."
        ),
    ] = "10%",  # type: ignore[assignment]  # read by the parser
    requests: Annotated[
        int, typer.Option(min=1, help="After this many without a broken limit it gets all.")
    ] = 200,
    max_errors: Annotated[float, typer.Option(min=0, max=0.99, help="Share that may fail.")] = 0.01,
    max_slowdown: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="5 % of its requests may take longer than this factor times the active release's "
            "95th percentile.",
        ),
    ] = 1.5,
    why: Why = "",
    who: Who = None,
    store: StoreUrl = None,
) -> None:
    """Send traffic to a release: a share of it, then all. Running servers follow within a second.

    A canary that breaks a limit is rolled back by itself.
    """
    from orchestrator.releases.rollout import signed
    from store.releases.line import Step, Terms

    terms = (
        Terms(share=canary, requests=requests, max_errors=max_errors, max_slowdown=max_slowdown)
        if canary
        else None
    )
    with _office(store) as office:
        sweep, number = office.named(name)
        entry = office.roll_out(sweep, number, terms, signed(why, who))
        share = "all requests" if entry.step is Step.ACTIVE else f"{canary:.0%} of the requests"
        log(f"{sweep}@{number} gets {share}; see: paretoken releases {sweep}")
        office.reflect(sweep)


def rollback(sweep: Sweep, why: Why = "", who: Who = None, store: StoreUrl = None) -> None:
    """End a sweep's canary, or without one go back to the release before, which is loaded still."""
    from orchestrator.releases.rollout import signed

    with _office(store) as office:
        entry = office.roll_back(sweep, signed(why, who))
        active = office.ledger.line(sweep).active
        left = "the unreleased frontier" if active is None else f"{sweep}@{active}"
        log(f"{sweep}@{entry.number} is rolled back; {left} is served")
        office.reflect(sweep)


def size(
    name: Annotated[str, typer.Argument(metavar="SWEEP[@NUMBER]", help="Default: the newest.")],
    per_second: Annotated[float, typer.Option(help="Requests that come in a second.")],
    utilisation: Annotated[
        float, typer.Option(help="Share of the time that a replica is to work.")
    ] = 0.6,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """How many replicas a load takes, by the release's own measured times and bytes."""
    from dashboards.size_tables import sizes_table
    from orchestrator.releases.sizing import sizes

    with _office(store) as office:
        sweep, number = office.named(name)
        release = office.ledger.release(sweep, number).release
    rows = [each.as_row for each in sizes(release, per_second, utilisation)]
    show_rows(as_json, rows, lambda: sizes_table(rows, per_second))


@contextmanager
def _office(store: str | None) -> Iterator[Office]:
    from orchestrator.releases.rollout import Office

    with open_store(store) as opened, _ledger(store) as ledger:
        yield Office(opened, ledger)


@contextmanager
def _ledger(store: str | None) -> Iterator[Ledger]:
    from store.releases.ledger import Ledger

    ledger = Ledger(store_url(store))
    try:
        yield ledger
    finally:
        ledger.close()
