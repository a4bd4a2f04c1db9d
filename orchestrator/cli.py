"""The ``paretoken`` command: parses, calls, prints; nothing else.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once
and ``status`` and ``frontier`` start neither Ray nor torch nor MLflow.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from orchestrator.commands import cluster as cluster_commands
from orchestrator.commands import imports as import_commands
from orchestrator.commands import keys as key_commands
from orchestrator.commands import planning as planning_commands
from orchestrator.commands import questions as question_commands
from orchestrator.commands import releases as release_commands
from orchestrator.commands import report as report_command
from orchestrator.commands import reproduce as reproduce_command
from orchestrator.commands.console import (
    File,
    Json,
    LatencyMs,
    Maximum,
    Minimum,
    MinQuality,
    StoreUrl,
    Sweep,
    Workload,
    log,
    open_store,
    pairs,
    print_json,
    show,
    show_rows,
    store_url,
)
from orchestrator.commands.questions import frontier_odds

if TYPE_CHECKING:
    from dashboards.app.seen import Provenance, Seen


class IdOrCommand(TyperGroup):
    """A group in which an id stands for the command that describes what it names."""

    shown_by: ClassVar[str] = "show"

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """``ID`` is ``show ID``, unless it is a command."""
        known = args[0] in self.commands
        return super().resolve_command(ctx, args if known else [self.shown_by, *args])


app = typer.Typer(
    name="paretoken",
    help="Sweep token-compression methods, keep every number, serve the Pareto frontier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
backbones_app = typer.Typer(
    cls=IdOrCommand, help="Backbones that ship: list them, describe one, train one again."
)
app.add_typer(backbones_app, name="backbones", invoke_without_command=True)


@app.command()
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


@app.command()
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


@app.command()
def frontier(
    sweep: Sweep,
    workload: Workload = None,
    maximum: Maximum = None,
    minimum: Minimum = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            min=0.51,
            max=0.9999,
            help="Over all seeds, with each configuration's probability of being on it.",
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(min=0, help="The same, where so much quality is worth no cost at all."),
    ] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """The points no other point beats, per workload, within budgets."""
    from dashboards import tables
    from dashboards.rows import best_rows, stored_rows

    upper, lower = pairs("--max", maximum), pairs("--min", minimum)
    if confidence is not None or epsilon is not None:
        sure, worthless = confidence or 0.95, epsilon or 0.0
        frontier_odds(sweep, workload, upper, lower, sure, worthless, as_json, store)
        return
    bounded = bool(upper or lower)
    with open_store(store) as opened:
        if as_json and not bounded:
            rows = stored_rows(opened, sweep, workload)
        else:
            rows = best_rows(opened, sweep, workload, upper, lower)
    show_rows(as_json, tables.frontier_rows(rows), lambda: tables.frontier_table(rows))


@app.command()
def methods(
    method: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Describe this one, e.g. tome or kvpress/KVzipPress."),
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only these, e.g. vision or kv-cache.")] = None,
    status: Annotated[
        str | None, typer.Option(help="implemented, external (run by kvpress) or planned.")
    ] = None,
    place: Annotated[str | None, typer.Option(help="Only what attaches there, e.g. vlm.")] = None,
    as_json: Json = False,
) -> None:
    """Methods, the papers still to come, and the evidence for each."""
    from dashboards import method_tables
    from orchestrator.catalogue import method_listings, method_pages

    if method is None:
        rows = method_listings.methods(family, status, place)
        show_rows(as_json, rows, lambda: method_tables.methods_table(rows))
    else:
        row = method_pages.page(method)
        show_rows(as_json, row, lambda: method_tables.method_page(row))


@backbones_app.callback()
def backbones(context: typer.Context, as_json: Json = False) -> None:
    """Backbones and shapes that ship with the project; ``backbones ID`` describes one."""
    context.obj = as_json
    if context.invoked_subcommand is None:
        from dashboards import workload_tables
        from orchestrator.catalogue import listings

        rows = listings.backbones()
        show_rows(as_json, rows, lambda: workload_tables.backbones_table(rows))


@backbones_app.command(name=IdOrCommand.shown_by)
def describe_backbone(
    context: typer.Context,
    backbone: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Json = False,
) -> None:
    """Describe one; the word may be left out."""
    from dashboards import workload_tables
    from orchestrator.catalogue import listings

    row = listings.backbone(backbone)
    show_rows(as_json or context.obj, row, lambda: workload_tables.backbone_page(row))


@backbones_app.command()
def train(
    backbone: Annotated[str, typer.Argument(metavar="ID")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: ./ID-seed-N.")] = None,
    as_json: Json = False,
) -> None:
    """Train a reference backbone again from its recipe."""
    from orchestrator.catalogue import listings

    row = listings.train(backbone, seed, out or Path(f"{backbone}-seed-{seed}"), log)
    show_rows(as_json, row, lambda: "\n".join(f"{key}: {value}" for key, value in row.items()))


@app.command()
def tasks(
    task: Annotated[
        str | None, typer.Argument(metavar="ID", help="Describe this one, e.g. threads.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tasks that a workload can name."""
    from dashboards import workload_tables
    from orchestrator.catalogue import listings

    if task is None:
        rows = listings.tasks()
        show_rows(as_json, rows, lambda: workload_tables.tasks_table(rows))
    else:
        row = listings.task(task)
        show_rows(as_json, row, lambda: workload_tables.task_page(row))


@app.command()
def schema() -> None:
    """JSON Schema of the sweep file, for editors."""
    from sweeps.json_schema import json_schema

    print_json(json_schema())


@app.command()
def serve(
    sweep: Sweep,
    host: Annotated[
        str, typer.Option(help="Address to bind; any but this machine's own takes API keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    require_keys: Annotated[
        bool, typer.Option("--require-keys", help="On 127.0.0.1, too: behind a proxy, say.")
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


@app.command()
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


def _provenance(url: str) -> Provenance:
    """Runs a trial on one example; torch is imported when somebody looks at one."""

    def look(trial: str, example: int) -> Seen:
        from orchestrator.measurement import seen

        return seen.look(url, trial, example)

    return look


planning_commands.register(app)
reproduce_command.register(app)
question_commands.register(app)
report_command.register(app)
cluster_commands.register(app)
import_commands.register(app)
key_commands.register(app)
release_commands.register(app)


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
