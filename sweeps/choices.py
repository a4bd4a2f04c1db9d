"""Tasks and backbones as a sweep file writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, PlainValidator

from sweeps import models
from sweeps.mistakes import Loc, Part, expected, refuse, strictly, unknown_name, wrong
from sweeps.schema_parts import AsWritten, first_sentence, named
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


class Reference(Part):
    """Weights that ship with the project, one set for each seed."""

    id: str


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


def parse_backbone(value: Any) -> Reference | HuggingFace:
    """A backbone as a sweep file writes it. Raises ValidationError."""
    if isinstance(value, Reference | HuggingFace):
        return value
    if isinstance(value, dict):
        return HuggingFace.model_validate(value)
    noun = "a reference backbone or {hf: path-or-id}"
    if not isinstance(value, str):
        raise refuse(wrong(expected(noun, value), value=value))
    if value in models.references():
        return Reference(id=value)
    otherwise = "; any other model is written {hf: path-or-id}"
    raise refuse(unknown_name("backbone", value, models.references(), otherwise=otherwise))


def _write_task(choice: TaskChoice) -> JsonValue:
    return choice.written


def _write_backbone(choice: Reference | HuggingFace) -> Any:
    return choice.id if isinstance(choice, Reference) else choice.model_dump()


def _task_schema() -> dict[str, Any]:
    texts = {name: first_sentence(entry.card) for name, entry in tasks_registry.entries().items()}
    with_id = []
    for name, entry in tasks_registry.entries().items():
        schema = entry.task.model_json_schema()
        properties = {"id": {"const": name, "description": texts[name]}, **schema["properties"]}
        schema |= {"properties": properties, "required": ["id", *schema.get("required", [])]}
        with_id.append(schema)
    return {"anyOf": [named(texts), *with_id]}


def _backbone_schema() -> dict[str, Any]:
    texts = {name: first_sentence(b.summary) for name, b in models.references().items()}
    return {"anyOf": [named(texts), HuggingFace.model_json_schema()]}


TaskItem = Annotated[
    TaskChoice, PlainValidator(parse_task), PlainSerializer(_write_task), AsWritten(_task_schema)
]
BackboneItem = Annotated[
    Reference | HuggingFace,
    PlainValidator(parse_backbone),
    PlainSerializer(_write_backbone),
    AsWritten(_backbone_schema),
]
