"""Every method, implemented or planned, with what speaks for it: rows of plain values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import yaml

from methods import registry
from methods.backbones.registry import adapters
from methods.catalogue import CatalogueRow, catalogue
from methods.evidence import evidence, measured
from methods.naming import unknown
from methods.places import PLACES, Place
from methods.registry import MethodEntry
from sweeps.tasks import registry as tasks_registry

Row = dict[str, Any]
IMPLEMENTED, PLANNED = "implemented", "planned"
NEEDS: Final = {
    "needs_cls": "the class token's attention",
    "needs_attention": "the block's whole attention (N x N)",
    "needs_next_attention": "the next block's attention, one step ahead",
    "needs_future": "the attention to come, from a rehearsal",
    "proportional_attention": "log(size) added to later attention logits",
}
"""Class variables of methods, in words."""


def methods(
    family: str | None = None, status: str | None = None, place: str | None = None
) -> list[Row]:
    """Implemented methods by family, then the catalogue's papers that are still to come.

    ``family`` is a folder of ours or a family of the catalogue. Raises ValueError that names the
    nearest for a family, status or place that does not exist.
    """
    entries = registry.entries().values()
    known = {_catalogue_id(entry) for entry in entries}
    planned = [_planned(row) for row in catalogue().values() if row.id not in known]
    rows = [*map(_implemented, entries), *planned]
    families = {row[key] for row in rows for key in ("family", "survey_family")} - {None}
    _require("family", family, families)
    _require("status", status, (IMPLEMENTED, PLANNED))
    _require("place", place, PLACES)
    return [
        row
        for row in rows
        if family in (None, row["family"], row["survey_family"])
        and status in (None, row["status"])
        and (place is None or place in row["places"])
    ]


def method(method_id: str) -> Row:
    """Everything about one method. Raises ValueError that names the nearest id."""
    listed = {row["id"]: row for row in methods()}
    if method_id not in listed:
        raise ValueError(unknown("method", method_id, listed))
    row = listed[method_id]
    if row["status"] == PLANNED:
        return row
    entry = registry.entry(method_id)
    return {
        **row,
        "schedule": entry.method.home.label,
        "needs": [text for flag, text in NEEDS.items() if getattr(entry.method, flag, False)],
        "version": entry.method.version,
        "hyperparameters": _hyperparameters(entry),
        "yaml": example(entry),
        "about": _reflowed(inspect.getdoc(inspect.getmodule(entry.method)) or ""),
    }


def example(entry: MethodEntry) -> str:
    """A line for a sweep file: the method with its defaults, or with values that make sense."""
    fields = entry.method.model_fields
    required = {n: (f.examples or [None])[0] for n, f in fields.items() if f.is_required()}
    built = entry.method(**required)
    params = built.model_dump(mode="json", exclude_unset=not entry.stands_alone)
    choice = {entry.id: params} if params else entry.id
    written = yaml.safe_dump([choice], default_flow_style=True, sort_keys=False, width=10**6)
    return f"methods: {written.strip()}"


@cache
def workloads(places: tuple[Place, ...]) -> tuple[str, ...]:
    """Tasks whose models have one of the places, sorted."""
    here = {
        adapter.places[0] for adapter in adapters().values() if set(adapter.places) & set(places)
    }
    entries = tasks_registry.entries().values()
    return tuple(entry.id for entry in entries if entry.task.place in here)


def _implemented(entry: MethodEntry) -> Row:
    survey = catalogue().get(_catalogue_id(entry) or "")
    paper = entry.method.paper
    fidelity = evidence().get(entry.id)
    return {
        "id": entry.id,
        "family": entry.family,
        "survey_family": survey.family if survey else None,
        "tier": survey.tier if survey else (1 if paper else None),
        "training": survey.training if survey else "training-free",
        "status": IMPLEMENTED,
        "places": list(entry.places),
        "workloads": list(workloads(entry.places)),
        "paper": paper.title if paper else None,
        "arxiv": paper.arxiv if paper else None,
        "code": paper.code if paper else None,
        "fidelity": fidelity.model_dump(exclude={"id"}) if fidelity else None,
        "measured": [row.model_dump(exclude={"id"}) for row in measured().get(entry.id, ())],
    }


def _planned(row: CatalogueRow) -> Row:
    return {
        "id": row.id,
        "family": row.family,
        "survey_family": row.family,
        "tier": row.tier,
        "training": row.training,
        "status": PLANNED,
        "places": [],
        "workloads": [],
        "paper": row.title,
        "arxiv": None,
        "code": row.code_url,
        "fidelity": None,
        "measured": [],
    }


def _hyperparameters(entry: MethodEntry) -> dict[str, str]:
    return {
        name: f"{'required' if field.is_required() else repr(field.default)}: {field.description}"
        for name, field in entry.method.model_fields.items()
    }


def _catalogue_id(entry: MethodEntry) -> str | None:
    return entry.method.paper.catalogue if entry.method.paper else None


def _require(kind: str, value: str | None, choices: Sequence[str] | set[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(unknown(kind, value, choices))


def _reflowed(text: str) -> str:
    """Paragraphs and list items on one line each, for a terminal of any width."""
    return re.sub(r"(?<!\n)\n(?![\n-])\s*", " ", text)
