"""What there is to choose from: methods, backbones, tasks, as rows of plain values."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from methods import registry
from methods.catalogue import catalogue
from methods.naming import unknown
from methods.registry import MethodEntry
from sweeps.models import references
from sweeps.tasks import registry as tasks_registry

Row = dict[str, Any]


def methods() -> list[Row]:
    """Implemented methods first, then the catalogue's papers that are still to come."""
    entries = registry.entries()
    rows = [_method(entry) for entry in entries.values()]
    known = {_catalogue_id(entry) for entry in entries.values()}
    planned = (row for row in catalogue().values() if row.id not in known)
    return rows + [
        {
            "id": row.id,
            "family": row.family,
            "tier": row.tier,
            "status": "planned",
            "paper": row.title,
        }
        for row in planned
    ]


def method(method_id: str) -> Row:
    """Everything about one method. Raises ValueError that names the nearest id."""
    listed = {row["id"]: row for row in methods()}
    if method_id not in listed:
        raise ValueError(unknown("method", method_id, listed))
    if listed[method_id]["status"] == "planned":
        row = catalogue()[method_id]
        return {**listed[method_id], "training": row.training, "code": row.code_url}
    entry = registry.entry(method_id)
    paper = entry.method.paper
    return {
        **listed[method_id],
        "arxiv": paper.arxiv if paper else None,
        "code": paper.code if paper else None,
        "attaches to": list(entry.places),
        "version": entry.method.version,
        "hyperparameters": {
            name: f"{field.default!r}: {field.description}"
            for name, field in entry.method.model_fields.items()
        },
        "yaml": _example(entry),
        "about": _reflowed(inspect.getdoc(inspect.getmodule(entry.method)) or ""),
    }


def backbones() -> list[Row]:
    """Reference backbones with their seeds."""
    return [
        {"id": each.id, "seeds": list(each.seeds), "about": each.summary}
        for each in references().values()
    ]


def tasks() -> list[Row]:
    """Tasks with the parameters that a sweep file may set."""
    return [
        {
            "id": entry.id,
            "attaches to": entry.task.place,
            "metric": entry.task.metric,
            "parameters": {
                name: f"{field.default!r}: {field.description}"
                for name, field in entry.task.model_fields.items()
            },
            "about": entry.card.partition("\n\n")[0],
        }
        for entry in tasks_registry.entries().values()
    ]


def train(backbone: str, seed: int, out: Path, say: Callable[[str], None]) -> Row:
    """Run a reference recipe. Raises ValueError for an unknown backbone or a folder in the way."""
    if backbone not in references():
        raise ValueError(unknown("backbone", backbone, references()))
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name another folder with --out")
    recipe = importlib.import_module(f"sweeps.reference.{backbone.replace('-', '_')}.recipe")
    return {"backbone": backbone, "seed": seed, "out": str(out), **recipe.train(seed, out, say)}


def _method(entry: MethodEntry) -> Row:
    row = catalogue().get(_catalogue_id(entry) or "")
    paper = entry.method.paper
    return {
        "id": entry.id,
        "family": entry.family,
        "tier": row.tier if row else (None if paper is None else 1),
        "status": "implemented",
        "paper": paper.title if paper else None,
    }


def _reflowed(text: str) -> str:
    """Paragraphs and list items on one line each, for a terminal of any width."""
    return re.sub(r"(?<!\n)\n(?![\n-])\s*", " ", text)


def _catalogue_id(entry: MethodEntry) -> str | None:
    return entry.method.paper.catalogue if entry.method.paper else None


def _example(entry: MethodEntry) -> str:
    defaults = ", ".join(f"{k}: {f.default}" for k, f in entry.method.model_fields.items())
    return f"methods: [{{{entry.id}: {{{defaults}}}}}]" if defaults else f"methods: [{entry.id}]"
