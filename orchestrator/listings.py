"""What there is to choose from besides methods: backbones and tasks, as rows of plain values."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from methods.naming import unknown
from sweeps.models import references
from sweeps.tasks import registry as tasks_registry

Row = dict[str, Any]


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
