"""Commands for results that others measured: ``import`` and ``imports``.

Both start neither Ray nor torch nor MLflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dashboards.stderr import log
from methods.naming import counted
from orchestrator.commands.console import (
    Json,
    Maximum,
    Minimum,
    StoreUrl,
    open_store,
    pairs,
    show_rows,
)

if TYPE_CHECKING:
    from store.importing.collection import Collection


def import_(
    path: Annotated[Path, typer.Argument(help="A CSV file, or a folder of kvpress' evaluation.")],
    source: Annotated[
        str, typer.Option(help='Who measured it: "arXiv:2404.14469, table 2", a colleague ...')
    ],
    name: Annotated[str | None, typer.Option(help="Default: the file's or folder's.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave this column out (CSV).")
    ] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Keep results measured elsewhere, with their provenance, apart from measured trials.

    A CSV file has the columns method, keep_ratio and quality, and any metric besides.
    """
    from dashboards import import_tables

    collection = _read(path, ignore or [])
    chosen = name or path.resolve().stem
    with open_store(store) as opened:
        is_new = opened.add_import(chosen, str(path.resolve()), source, collection)
        imported = opened.imported(chosen)
    if not is_new:
        log(f"{chosen} holds exactly these results already; nothing changed")
    show_rows(
        as_json, import_tables.summary(imported), lambda: import_tables.imports_table([imported])
    )


def imports(
    name: Annotated[str | None, typer.Argument(help="Only this one, with its frontier.")] = None,
    cost: Annotated[
        str, typer.Option(help="The frontier is taken over quality and this.")
    ] = "tokens",
    minimize: Annotated[
        bool, typer.Option("--minimize", help="Better quality is smaller (a perplexity).")
    ] = False,
    maximum: Maximum = None,
    minimum: Minimum = None,
    forget: Annotated[bool, typer.Option("--forget", help="Remove it from the store.")] = False,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """What was imported, and the frontier within one import."""
    from dashboards import import_tables

    if forget and name is None:
        raise ValueError("--forget needs the name of an import")
    with open_store(store) as opened:
        found = opened.imports() if name is None else [opened.imported(name)]
        if forget and name is not None:
            opened.remove_import(name)
            log(f"{name}: {counted(len(found[0].points), 'result')} forgotten")
            return
    if name is None:
        rows = [import_tables.summary(each) for each in found]
        show_rows(as_json, rows, lambda: import_tables.imports_table(found))
        return
    better: Literal["minimize", "maximize"] = "minimize" if minimize else "maximize"
    judged = import_tables.judge(
        found[0], cost, better, pairs("--max", maximum), pairs("--min", minimum)
    )
    show_rows(
        as_json,
        import_tables.points_json(found[0], judged),
        lambda: import_tables.import_page(found[0], judged, cost),
    )


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(name="import")(import_)
    app.command()(imports)


def _read(path: Path, ignored: list[str]) -> Collection:
    from store.importing import kvpress, table

    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file():
        return table.read(path, ignored)
    if ignored:
        raise ValueError("--ignore is for CSV files; a folder has no columns")
    return kvpress.read(path)
