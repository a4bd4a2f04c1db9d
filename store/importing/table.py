"""A plain CSV file: a heading, then a line for each configuration.

Needed are ``method``, ``keep_ratio`` and ``quality``. Every other metric of
:class:`sweeps.trial.Metrics` may be a column (``flops``, ``kv``, ``latency`` ...), and so may
``workload``, ``schedule``, ``seed`` and ``hyperparameters`` (a JSON object). An empty cell says
nothing. Costs without a unit are fractions of the uncompressed model's, as everywhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from methods.naming import unknown
from store.importing.collection import Collection, ImportedPoint
from store.records import METRIC_NAMES
from sweeps.metrics import QUALITY

REQUIRED: Final = ("method", "keep_ratio", QUALITY)
OPTIONAL: Final = ("workload", "schedule", "seed", "hyperparameters")
COLUMNS: Final = frozenset((*REQUIRED, *OPTIONAL, *METRIC_NAMES))


def read(file: Path, ignored: Iterable[str] = ()) -> Collection:
    """Every line of ``file`` but for the columns ``ignored``.

    A file without a column ``workload`` is one workload, named after the file. Raises ValueError
    with line and column of the first mistake.
    """
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason}") from None
    lines = csv.DictReader(io.StringIO(text), strict=True)
    known = [*(lines.fieldnames or ())]
    left_out = set(ignored)
    _check_heading(file, [name for name in known if name not in left_out])
    points = []
    try:
        for line in lines:
            place = f"{file}:{lines.line_num}"
            cells = {name: cell for name, cell in line.items() if name not in left_out}
            points.append(_point(cells, file.stem, place))
    except csv.Error as error:
        raise ValueError(f"{file}:{lines.line_num}: {error}") from None
    if not points:
        raise ValueError(f"{file} holds no line below its heading")
    provenance = {"ignored": sorted(left_out)} if left_out else {}
    digest = hashlib.sha256(content + ",".join(sorted(left_out)).encode()).hexdigest()
    return Collection(tuple(points), "csv", provenance, digest)


def _check_heading(file: Path, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        found = ", ".join(columns) or "nothing"
        raise ValueError(f"{file}:1: no column {missing[0]!r}; the heading has {found}")
    for name in columns:
        if name not in COLUMNS:
            known = unknown("column", name, COLUMNS)
            raise ValueError(f"{file}:1: {known}; leave it out with --ignore {name}")
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{file}:1: column {twice[0]!r} stands there twice")


def _point(cells: Mapping[str | None, Any], workload: str, place: str) -> ImportedPoint:
    if None in cells:
        raise ValueError(f"{place}: more cells than the heading has columns")
    filled = {str(name): cell.strip() for name, cell in cells.items() if cell and cell.strip()}
    content: dict[str, Any] = {"workload": workload, "origin": place}
    content |= {name: cell for name, cell in filled.items() if name not in METRIC_NAMES}
    content["reported"] = {name: cell for name, cell in filled.items() if name in METRIC_NAMES}
    if "hyperparameters" in filled:
        content["hyperparameters"] = _object(filled["hyperparameters"], place)
    try:
        return ImportedPoint.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{place}: {_sentence(error)}") from None


def _object(text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{place}: hyperparameters {text!r}: write a JSON object")
    return value


def _sentence(error: ValidationError) -> str:
    """The first mistake, by the name of its column."""
    first = error.errors()[0]
    where = [part for part in first["loc"] if part != "reported"]
    said = str(first["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict | ImportedPoint) else f" {first['input']!r}"
    return f"{'.'.join(map(str, where))}{given}: {said}" if where else said
