"""Every method, ours, another library's or planned, with what speaks for it: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from methods import registry
from methods.backbones.registry import adapters
from methods.base import Method
from methods.catalogue import CatalogueRow, catalogue
from methods.evidence import evidence, measured
from methods.kvpress._press import LIBRARY, Press
from methods.naming import unknown
from methods.places import PLACES, Place
from methods.registry import MethodEntry
from sweeps.schema_parts import first_sentence
from sweeps.tasks import registry as tasks_registry

Row = dict[str, Any]
IMPLEMENTED, EXTERNAL, PLANNED = "implemented", "external", "planned"
STATUSES: Final = (IMPLEMENTED, EXTERNAL, PLANNED)
"""Written here, run by another library in an environment of its own, still to come."""
_ARXIV: Final = "https://arxiv.org/abs/"


def methods(
    family: str | None = None, status: str | None = None, place: str | None = None
) -> list[Row]:
    """Implemented methods by family, presses, then the catalogue's papers still to come.

    ``family`` is a folder of ours or a family of the catalogue. Raises ValueError that names the
    nearest for a family, status or place that does not exist.
    """
    entries = registry.entries().values()
    presses = registry.presses().values()
    known = {_catalogue_id(entry) for entry in entries}
    planned = [_planned(row) for row in catalogue().values() if row.id not in known]
    rows = [*map(_implemented, entries), *map(_external, presses), *planned]
    families = {row[key] for row in rows for key in ("family", "survey_family")} - {None}
    _require("family", family, families)
    _require("status", status, STATUSES)
    _require("place", place, PLACES)
    return [
        row
        for row in rows
        if family in (None, row["family"], row["survey_family"])
        and status in (None, row["status"])
        and (place is None or place in row["places"])
    ]


def example_of(entry: MethodEntry) -> Method:
    """The method with its defaults, and an example where a hyperparameter has none."""
    fields = entry.method.model_fields
    required = {n: (f.examples or [None])[0] for n, f in fields.items() if f.is_required()}
    return entry.method(**required)


@cache
def workloads(places: tuple[Place, ...]) -> tuple[str, ...]:
    """Tasks whose models have one of the places, sorted."""
    here = {
        adapter.places[0] for adapter in adapters().values() if set(adapter.places) & set(places)
    }
    return _tasks_at(here)


def _tasks_at(places: set[Place]) -> tuple[str, ...]:
    entries = tasks_registry.entries().values()
    return tuple(entry.id for entry in entries if entry.task.place in places)


def _implemented(entry: MethodEntry) -> Row:
    survey = catalogue().get(_catalogue_id(entry) or "")
    paper = entry.method.paper
    fidelity = evidence().get(entry.id)
    return {
        **_registered(entry),
        "survey_family": survey.family if survey else None,
        "tier": survey.tier if survey else (1 if paper else None),
        "training": survey.training if survey else "training-free",
        "status": IMPLEMENTED,
        "workloads": list(workloads(entry.places)),
        "paper": paper.title if paper else None,
        "arxiv": paper.arxiv if paper else None,
        "code": paper.code if paper else None,
        "fidelity": fidelity.model_dump(exclude={"id"}) if fidelity else None,
        "measured": [row.model_dump(exclude={"id"}) for row in measured().get(entry.id, ())],
    }


def _external(entry: MethodEntry) -> Row:
    assert issubclass(entry.method, Press)
    source = entry.method.source
    arxiv = source.removeprefix(_ARXIV) if source and source.startswith(_ARXIV) else None
    return {
        **_registered(entry),
        "survey_family": None,
        "tier": 1,
        "training": "training-free",
        "status": EXTERNAL,
        "workloads": list(_tasks_at(set(entry.places))),
        "paper": _titles().get(arxiv) if arxiv else source,
        "arxiv": arxiv,
        "code": LIBRARY.code,
        "fidelity": None,
        "measured": [],
    }


def _registered(entry: MethodEntry) -> Row:
    """What the class itself says."""
    return {
        "id": entry.id,
        "family": entry.family,
        "places": list(entry.places),
        "summary": first_sentence(entry.method.__doc__),
        "simulated": sorted(example_of(entry).simulated),
    }


def _planned(row: CatalogueRow) -> Row:
    return {
        "id": row.id,
        "family": row.family,
        "places": [],
        "summary": None,
        "simulated": [],
        "survey_family": row.family,
        "tier": row.tier,
        "training": row.training,
        "status": PLANNED,
        "workloads": [],
        "paper": row.title,
        "arxiv": None,
        "code": row.code_url,
        "fidelity": None,
        "measured": [],
    }


@cache
def _titles() -> dict[str | None, str]:
    """Titles of papers by arXiv id: presses of the same papers have no titles of their own."""
    papers = [entry.method.paper for entry in registry.entries().values()]
    return {paper.arxiv: paper.title for paper in (*papers, LIBRARY) if paper}


def _catalogue_id(entry: MethodEntry) -> str | None:
    return entry.method.paper.catalogue if entry.method.paper else None


def _require(kind: str, value: str | None, choices: Sequence[str] | set[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(unknown(kind, value, choices))
