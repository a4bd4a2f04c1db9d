"""What a sweep file can name: ``methods``, ``tasks``, ``backbones``, and the file's ``schema``.

Of the heavy libraries they import torch alone, but for ``backbones train``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from dashboards.stderr import log
from orchestrator.commands.console import Json, print_json, show_rows


class IdOrCommand(TyperGroup):
    """A group in which an id stands for the command that describes what it names."""

    shown_by: ClassVar[str] = "show"

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """``ID`` is ``show ID``, unless it is a command."""
        known = args[0] in self.commands
        return super().resolve_command(ctx, args if known else [self.shown_by, *args])


group = typer.Typer(
    cls=IdOrCommand, help="Backbones that ship: list them, describe one, train one again."
)


def register(app: typer.Typer) -> None:
    """Add the commands and the group to the application."""
    for command in (methods, tasks, schema):
        app.command()(command)
    app.add_typer(group, name="backbones", invoke_without_command=True)


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


@group.callback()
def backbones(context: typer.Context, as_json: Json = False) -> None:
    """Backbones and shapes that ship with the project; ``backbones ID`` describes one."""
    context.obj = as_json
    if context.invoked_subcommand is None:
        from dashboards import workload_tables
        from orchestrator.catalogue import listings

        rows = listings.backbones()
        show_rows(as_json, rows, lambda: workload_tables.backbones_table(rows))


@group.command(name=IdOrCommand.shown_by)
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


@group.command()
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


def schema() -> None:
    """JSON Schema of the sweep file, for editors."""
    from sweeps.json_schema import json_schema

    print_json(json_schema())
