"""What the commands share: options, opening the store, printing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from store.repository import Store

File = Annotated[Path, typer.Argument(help="The sweep file (YAML).")]
Sweep = Annotated[str, typer.Argument(help="Name of a sweep, as in its file.")]
Workload = Annotated[str | None, typer.Option(help="Only this workload.")]
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
Maximum = Annotated[
    list[str] | None,
    typer.Option("--max", metavar="METRIC=VALUE", help="Budget, e.g. flops=0.5 (of baseline)."),
]
Minimum = Annotated[
    list[str] | None,
    typer.Option("--min", metavar="METRIC=VALUE", help="Floor, e.g. quality=0.95."),
]
LatencyMs = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Answer within so many milliseconds, 99 times of 100, where requests leave the choice "
        "of a point to the server: under load, cheaper points answer.",
    ),
]
MinQuality = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="The quality below which no such request is answered."),
]


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    """Numbers by metric from ``METRIC=NUMBER``. Raises ValueError for anything else."""
    numbers = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            numbers[name] = math.nan
        if not math.isfinite(numbers[name]):
            raise ValueError(f"{option} {text!r}: write METRIC=NUMBER, e.g. flops=0.5")
    return numbers


def store_url(chosen: str | None) -> str:
    """The URL that was given, or the default one."""
    from store.url import absolute, default_url

    return absolute(chosen) if chosen else default_url()


def open_store(chosen: str | None) -> Store:
    """The store at the URL that was given, or the default one."""
    from store.repository import Store

    return Store(store_url(chosen))


def show_rows(as_json: bool, rows: Any, table: Callable[[], Any]) -> None:
    """Print rows as JSON, or else the table."""
    if as_json:
        print_json(rows)
    else:
        show(table())


def print_json(rows: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")


def show(renderable: Any) -> None:
    """Anything that Rich can draw."""
    from rich.console import Console

    Console(soft_wrap=isinstance(renderable, str)).print(renderable)
