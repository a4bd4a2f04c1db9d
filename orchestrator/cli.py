"""The ``paretoken`` command: all of :mod:`orchestrator.commands`, in the order of ``--help``.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once
and ``status`` and ``frontier`` start neither Ray nor torch nor MLflow.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import metadata
from typing import Annotated, Any

import typer

from dashboards.stderr import log
from orchestrator.commands import (
    catalogue,
    cluster,
    imports,
    keys,
    planning,
    questions,
    releases,
    report,
    reproduce,
    serving,
    sweeps,
)

app = typer.Typer(
    name="paretoken",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS = {
    "Plan and run": (planning, sweeps, cluster),
    "Ask what came out": (questions, report, reproduce, imports),
    "Look up": (catalogue,),
    "Serve": (serving, releases, keys),
}
for panel, modules in _PANELS.items():
    for module in modules:
        module.register(app)
    registered: list[Any] = [*app.registered_commands, *app.registered_groups]
    for each in registered:
        if not isinstance(each.rich_help_panel, str):  # it was registered just now
            each.rich_help_panel = panel


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(metadata.version("paretoken"))
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Sweep token-compression methods, keep every number, serve the Pareto frontier."""


def main() -> None:
    """Entry point: a mistake of the user is one message and exit code 2, never a traceback.

    ``PARETOKEN_DEBUG=1`` shows the traceback all the same. Neither ever holds a password.
    """
    try:
        app()
    except (ValueError, OSError) as error:
        _log_scrubbed(f"paretoken: {error}")
        if os.environ.get("PARETOKEN_DEBUG"):
            _log_scrubbed(traceback.format_exc())
        sys.exit(2)
    except Exception:
        _log_scrubbed(traceback.format_exc())
        sys.exit(1)


def _log_scrubbed(text: str) -> None:
    from store.url import scrubbed  # which imports what speaks to databases

    log(scrubbed(text))


if __name__ == "__main__":
    main()
