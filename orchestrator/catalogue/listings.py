"""What there is to choose from besides methods: tasks and backbones, as rows of plain values."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from methods.backbones.base import Backbone
from methods.backbones.registry import adapter_for
from methods.naming import unknown
from orchestrator.catalogue.page_parts import Row, as_text, parameters
from sweeps.models import (
    CONFIGS,
    Model,
    ReferenceBackbone,
    Shape,
    open_random,
    open_reference,
    references,
    shapes,
)
from sweeps.schema_parts import first_sentence
from sweeps.site import Refusal, Site
from sweeps.tasks import registry as tasks_registry
from sweeps.tasks.registry import TaskEntry
from sweeps.trial import MeasureSpec

_DATA = "Data: "
_ARCHITECTURE = "## Architecture"


def tasks() -> list[Row]:
    """Tasks with the names of the parameters that a sweep file may set."""
    return [_task(entry) for entry in tasks_registry.entries().values()]


def task(task_id: str) -> Row:
    """One task with its card. Raises ValueError that names the nearest for an unknown id."""
    entry = tasks_registry.entry(task_id)
    about = as_text(entry.card)
    return {
        **_task(entry),
        "version": entry.task.version,
        "parameters": parameters(entry.task),
        "data": about.partition(_DATA)[2].partition("\n")[0],
        "backbones": [each.id for each in references().values() if _fit(entry, each)],
        "yaml": example(entry),
        "about": about,
    }


def example(entry: TaskEntry) -> str:
    """A line for a workload of a sweep file: the task with its defaults."""
    choice = {"id": entry.id, **entry.task().model_dump(mode="json")}
    written = yaml.safe_dump(choice, default_flow_style=True, sort_keys=False, width=10**6)
    return f"task: {written.strip()}"


def backbones() -> list[Row]:
    """Backbones with the tasks that they fit.

    First the reference backbones, with the seeds whose weights ship, then shapes without weights.
    """
    return [*map(_backbone, references().values()), *map(_shape, shapes().values())]


def backbone(backbone_id: str) -> Row:
    """One of them with its card. Raises ValueError that names the nearest for an unknown id."""
    if backbone_id in shapes():
        return _shape_page(shapes()[backbone_id])
    found = _reference(backbone_id)
    return {
        **_backbone(found),
        "places": list(_adapter(found).places) if found.seeds else [],
        "class": _config(found)["architectures"][0] if found.seeds else None,
        "architecture": _section(found.card, _ARCHITECTURE),
        "about": found.summary,
        "card": str(found.path / "README.md"),
        "yaml": f"backbone: {found.id}",
    }


def train(backbone: str, seed: int, out: Path, say: Callable[[str], None]) -> Row:
    """Run a reference recipe. Raises ValueError for an unknown backbone or a folder in the way."""
    if backbone in shapes():
        raise ValueError(f"{backbone} is a shape: its weights are random and need no training")
    _reference(backbone)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name another folder with --out")
    recipe = importlib.import_module(f"sweeps.reference.{backbone.replace('-', '_')}.recipe")
    return {"backbone": backbone, "seed": seed, "out": str(out), **recipe.train(seed, out, say)}


def _task(entry: TaskEntry) -> Row:
    summary = first_sentence(entry.card).removeprefix(f"{entry.id}: ").rstrip(".")
    return {
        "id": entry.id,
        "place": entry.task.place,
        "metric": entry.task.metric,
        "direction": entry.task.direction,
        "summary": summary[0].upper() + summary[1:],
        "parameters": list(entry.task.model_fields),
    }


def _backbone(reference: ReferenceBackbone) -> Row:
    fitting = (entry.id for entry in tasks_registry.entries().values() if _fit(entry, reference))
    return {
        "id": reference.id,
        "kind": "reference",
        "seeds": list(reference.seeds),
        "place": _adapter(reference).places[0] if reference.seeds else None,
        "tasks": list(fitting),
        "summary": first_sentence(reference.summary).rstrip("."),
    }


def _reference(backbone_id: str) -> ReferenceBackbone:
    if backbone_id not in references():
        raise ValueError(unknown("backbone", backbone_id, {**references(), **shapes()}))
    return references()[backbone_id]


def _fit(entry: TaskEntry, reference: ReferenceBackbone) -> bool:
    """Whether a workload may pair the two; what no weights are there for fits nothing."""
    if not reference.seeds:
        return False
    return _match(entry, _model(reference.id, reference.seeds[0]))


def _match(entry: TaskEntry, model: Model) -> bool:
    try:
        Site(model, entry.task(), 0, MeasureSpec()).require_match()
    except Refusal:
        return False
    return True


def _shape(shape: Shape) -> Row:
    model = _drawn(shape.id)
    costs_alone = (each for each in tasks_registry.entries().values() if not each.task.has_answers)
    return {
        "id": shape.id,
        "kind": "shape",
        "seeds": [],
        "place": adapter_for(model.config).places[0],
        "tasks": [entry.id for entry in costs_alone if _match(entry, model)],
        "summary": f"{shape.parameters} parameters; {shape.tokens}",
    }


def _shape_page(shape: Shape) -> Row:
    config = _drawn(shape.id).config
    return {
        **_shape(shape),
        "places": list(adapter_for(config).places),
        "class": config["architectures"][0],
        "architecture": f"{adapter_for(config).layers_in(config)} layers; {shape.source}",
        "about": f"{shape.parameters} parameters; {shape.tokens}",
        "card": str(CONFIGS / "README.md"),
        "yaml": f"backbone: {{config: {shape.id}, weights: random, layers: 2}}",
    }


@cache
def _drawn(shape_id: str) -> Model:
    return open_random(shape_id, None, "float32", 0, CONFIGS)


_model = cache(open_reference)


def _config(reference: ReferenceBackbone) -> dict[str, Any]:
    return _model(reference.id, reference.seeds[0]).config


def _adapter(reference: ReferenceBackbone) -> type[Backbone]:
    return adapter_for(_config(reference))


def _section(card: str, heading: str) -> str:
    """The text under a heading of a model card."""
    return as_text(card.partition(f"{heading}\n")[2].partition("\n#")[0].strip())
