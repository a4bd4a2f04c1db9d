"""Tasks and backbones as a sweep file writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    Strict,
)

from sweeps import models
from sweeps.mistakes import Loc, Part, expected, refuse, strictly, unknown_name, wrong
from sweeps.schema_parts import AsWritten, first_sentence, named, or_list
from sweeps.tasks import registry as tasks_registry
from sweeps.tasks.base import Task

Dtype = Literal["float32", "float16", "bfloat16"]


class TaskChoice(BaseModel):
    """A task with its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    params: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def written(self) -> JsonValue:
        """The choice as a sweep file writes it."""
        return {"id": self.id, **self.params} if self.params else self.id

    def build(self) -> Task[Any, Any]:
        """The task itself."""
        return strictly(tasks_registry.entry(self.id).task, self.params)


class HuggingFace(Part):
    """A model directory or hub id."""

    hf: str = Field(min_length=1, description="Model directory (relative to this file) or hub id.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub id.")
    dtype: Dtype = Field(default="float32", description="Type of weights and activations.")


class RandomModel(Part):
    """The shape of a model with random weights: what it would cost, before anyone downloads it."""

    config: str = Field(
        min_length=1,
        description="Shape: one that ships, a directory or config.json (relative to this file), or "
        "a hub id.",
    )
    weights: Literal["random"] = Field(description="Drawn with the trial's seed, never on disk.")
    layers: Annotated[int, Strict()] | None = Field(
        default=None, ge=1, description="Cut the decoder (or vision tower) to so many layers."
    )
    dtype: Dtype = Field(default="float32", description="Type of weights and activations.")


class Reference(Part):
    """Weights that ship with the project, one set for each seed."""

    id: str


BackboneChoice = Reference | HuggingFace | RandomModel


def parse_task(value: Any) -> TaskChoice:
    """A task as a sweep file writes it. Raises ValidationError."""
    if isinstance(value, TaskChoice):
        return value
    loc: Loc = ("id",) if isinstance(value, dict) else ()
    if loc and "id" not in value:
        raise refuse(wrong("missing key 'id'", value=value, at_key=True))
    task_id = value["id"] if loc else value
    if not isinstance(task_id, str):
        raise refuse(wrong(expected("a task or {id: task, parameter: value}", task_id), loc, value))
    if task_id not in tasks_registry.entries():
        raise refuse(unknown_name("task", task_id, tasks_registry.entries(), loc))
    params = {key: v for key, v in value.items() if key != "id"} if loc else {}
    strictly(tasks_registry.entry(task_id).task, params)
    return TaskChoice(id=task_id, params=params)


def parse_backbone(value: Any) -> BackboneChoice:
    """A backbone as a sweep file writes it. Raises ValidationError."""
    if isinstance(value, Reference | HuggingFace | RandomModel):
        return value
    if isinstance(value, dict):
        kind = RandomModel if "config" in value else HuggingFace
        return kind.model_validate(value)
    noun = "a reference backbone, {hf: path-or-id} or {config: shape, weights: random}"
    if not isinstance(value, str):
        raise refuse(wrong(expected(noun, value), value=value))
    if value in models.references():
        return Reference(id=value)
    otherwise = (
        "; any other model is written {hf: path-or-id}, a mere shape {config: ..., weights: random}"
    )
    raise refuse(unknown_name("backbone", value, models.references(), otherwise=otherwise))


def _write_task(choice: TaskChoice) -> JsonValue:
    return choice.written


def _write_backbone(choice: BackboneChoice) -> Any:
    return choice.id if isinstance(choice, Reference) else choice.model_dump()


def _task_schema() -> dict[str, Any]:
    texts = {name: first_sentence(entry.card) for name, entry in tasks_registry.entries().items()}
    with_id = []
    for name, entry in tasks_registry.entries().items():
        schema = entry.task.model_json_schema()
        axes = {each: or_list(one) for each, one in schema["properties"].items()}
        properties = {"id": {"const": name, "description": texts[name]}, **axes}
        schema |= {"properties": properties, "required": ["id", *schema.get("required", [])]}
        with_id.append(schema)
    return {"anyOf": [named(texts), *with_id]}


def _backbone_schema() -> dict[str, Any]:
    texts = {name: first_sentence(b.summary) for name, b in models.references().items()}
    return {"anyOf": [named(texts), HuggingFace.model_json_schema(), _random_schema()]}


def _random_schema() -> dict[str, Any]:
    schema = RandomModel.model_json_schema()
    shipped: dict[str, Any] = {"enum": list(models.configs())}
    config = schema["properties"]["config"]
    schema["properties"]["config"] = {"description": config["description"], "anyOf": [shipped]}
    schema["properties"]["config"]["anyOf"].append({"type": "string", "minLength": 1})
    return schema


TaskItem = Annotated[
    TaskChoice, PlainValidator(parse_task), PlainSerializer(_write_task), AsWritten(_task_schema)
]
BackboneItem = Annotated[
    BackboneChoice,
    PlainValidator(parse_backbone),
    PlainSerializer(_write_backbone),
    AsWritten(_backbone_schema),
]
