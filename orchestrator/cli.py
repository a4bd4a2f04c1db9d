"""The ``paretoken`` command: parses, calls, prints; nothing else.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once
and ``status`` and ``frontier`` start neither Ray nor torch nor MLflow.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="paretoken",
    help="Sweep token-compression methods, keep every number, serve the Pareto frontier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
backbones_app = typer.Typer(help="Reference backbones: list them, train them again.")
app.add_typer(backbones_app, name="backbones", invoke_without_command=True)

File = Annotated[Path, typer.Argument(help="The sweep file (YAML).")]
Sweep = Annotated[str, typer.Argument(help="Name of a sweep, as in its file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="PARETOKEN_STORE",
        show_default="sqlite:///.paretoken/paretoken.db",
        help="sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE",
    ),
]


@app.command()
def plan(file: File, as_json: Json = False) -> None:
    """Show what a sweep would run, and what cannot run and why. Writes nothing."""
    from dashboards import tables
    from sweeps.load import load_sweep
    from sweeps.plan import plan as make_plan

    planned = make_plan(load_sweep(file))
    _print(as_json, tables.plan_rows(planned), lambda: tables.plan_table(planned))


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
    from orchestrator.sweep import run_sweep

    done = run_sweep(file, _url(store), address)
    if as_json:
        _print_json(done.report.row())
    else:
        _show(tables.frontier_table([row for row in done.rows if row.on_frontier]))
        _show(done.summary)
    raise typer.Exit(done.report.exit_code)


@app.command()
def status(
    sweep: Annotated[str | None, typer.Argument(help="Only this sweep, with failures.")] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Sweeps and how far they are."""
    from dashboards import tables

    with _open(store) as opened:
        rows = tables.status_rows(opened, sweep)
    _print(as_json, rows, lambda: tables.status_table(rows))


@app.command()
def frontier(
    sweep: Sweep,
    workload: Annotated[str | None, typer.Option(help="Only this workload.")] = None,
    maximum: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="METRIC=VALUE", help="Budget, e.g. flops=0.5 (of baseline)."),
    ] = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="METRIC=VALUE", help="Floor, e.g. quality=0.95."),
    ] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """The points no other point beats, per workload, within budgets."""
    from dashboards import tables
    from dashboards.rows import stored_rows

    upper, lower = _limits("--max", maximum), _limits("--min", minimum)
    with _open(store) as opened:
        rows = stored_rows(opened, sweep, workload, upper, lower)
    best = [row for row in rows if row.on_frontier]
    _print(
        as_json,
        tables.frontier_rows(best if upper or lower else rows),
        lambda: tables.frontier_table(best),
    )


@app.command()
def methods(
    method: Annotated[str | None, typer.Argument(metavar="[ID]", help="Describe one.")] = None,
    family: Annotated[str | None, typer.Option(help="Only these, e.g. vision or kv-cache.")] = None,
    status: Annotated[str | None, typer.Option(help="implemented or planned.")] = None,
    place: Annotated[str | None, typer.Option(help="Only what attaches there, e.g. vlm.")] = None,
    as_json: Json = False,
) -> None:
    """Methods, the papers still to come, and the evidence for each."""
    from dashboards import method_tables
    from orchestrator import method_listings

    if method is None:
        rows = method_listings.methods(family, status, place)
        _print(as_json, rows, lambda: method_tables.methods_table(rows))
    else:
        row = method_listings.method(method)
        _print(as_json, row, lambda: method_tables.method_page(row))


@backbones_app.callback()
def backbones(context: typer.Context, as_json: Json = False) -> None:
    """Reference backbones that ship with the project."""
    if context.invoked_subcommand is None:
        from dashboards import tables
        from orchestrator import listings

        rows = listings.backbones()
        _print(as_json, rows, lambda: tables.plain_table("Reference backbones", rows))


@backbones_app.command()
def train(
    backbone: Annotated[str, typer.Argument(metavar="ID")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: ./ID-seed-N.")] = None,
    as_json: Json = False,
) -> None:
    """Train a reference backbone again from its recipe."""
    from orchestrator import listings

    row = listings.train(backbone, seed, out or Path(f"{backbone}-seed-{seed}"), _log)
    _print(as_json, row, lambda: "\n".join(f"{key}: {value}" for key, value in row.items()))


@app.command()
def tasks(as_json: Json = False) -> None:
    """Tasks that a workload can name."""
    from dashboards import tables
    from orchestrator import listings

    rows = listings.tasks()
    _print(as_json, rows, lambda: tables.plain_table("Tasks", rows))


@app.command()
def schema() -> None:
    """JSON Schema of the sweep file, for editors."""
    from sweeps.json_schema import json_schema

    _print_json(json_schema())


@app.command()
def serve(
    sweep: Sweep,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    store: StoreUrl = None,
) -> None:
    """Answer requests from the sweep's frontier, each within its budget."""
    from orchestrator.serving import release_of, serve_sweep

    with _open(store) as opened:
        release = release_of(opened, sweep)
    serve_sweep(release, host=host, port=port)


@app.command()
def ui(
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    store: StoreUrl = None,
) -> None:
    """Open the sweeps in the MLflow UI."""
    from dashboards.ui import serve_ui

    serve_ui(_url(store), port=port)


def main() -> None:
    """Entry point: a mistake of the user is one message and exit code 2, never a traceback.

    ``PARETOKEN_DEBUG=1`` shows the traceback all the same.
    """
    try:
        app()
    except (ValueError, OSError) as error:
        if os.environ.get("PARETOKEN_DEBUG"):
            raise
        _log(f"paretoken: {error}")
        sys.exit(2)


def _limits(option: str, pairs: list[str] | None) -> dict[str, float]:
    limits = {}
    for pair in pairs or []:
        name, _, value = pair.partition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            raise ValueError(f"{option} {pair!r}: write METRIC=NUMBER, e.g. flops=0.5") from None
    return limits


def _url(store: str | None) -> str:
    from store.url import absolute, default_url

    return absolute(store) if store else default_url()


def _open(store: str | None) -> Any:
    from store.repository import Store

    return Store(_url(store))


def _print(as_json: bool, rows: Any, table: Any) -> None:
    if as_json:
        _print_json(rows)
    else:
        _show(table())


def _print_json(rows: Any) -> None:
    sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")


def _show(renderable: Any) -> None:
    from rich.console import Console

    Console(soft_wrap=isinstance(renderable, str)).print(renderable)


def _log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
