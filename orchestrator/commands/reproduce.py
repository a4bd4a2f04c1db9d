"""The command ``reproduce``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.console import Json, StoreUrl, open_store, show_rows

if TYPE_CHECKING:
    from orchestrator.planning.reproduction import Pair, Reproduction


def reproduce(
    trial: Annotated[
        str, typer.Argument(metavar="TRIAL", help="A trial's id, or enough of its beginning.")
    ],
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Run a stored trial again here; say which conditions and numbers differ. Writes nothing.

    Exit code 0: every number that is not a time is the same bits; 1: some differ.
    """
    from dashboards.reproduction_tables import reproduction_page
    from orchestrator.planning.reproduction import reproduce as run_again

    with open_store(store) as opened:
        found = run_again(opened, trial)
    row = _row(found)
    show_rows(as_json, row, lambda: reproduction_page(row))
    raise typer.Exit(int(not found.equal))


def _row(found: Reproduction) -> dict[str, Any]:
    before = found.before
    return {
        "trial": found.spec.id,
        "spec": found.spec.model_dump(mode="json"),
        "before": {**asdict(before), "started_at": before.started_at.isoformat()},
        "conditions": [_pair(each) for each in found.conditions],
        "numbers": [_pair(each) for each in found.numbers],
        "times": [_pair(each) for each in found.times],
        "num_outcomes": found.num_outcomes,
        "outcomes_that_differ": found.outcomes_that_differ,
        "refused": found.refused,
        "error": found.error,
        "equal": found.equal,
    }


def _pair(each: Pair) -> dict[str, Any]:
    return {"name": each.name, "then": each.then, "now": each.now, "same": each.same}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(reproduce)
