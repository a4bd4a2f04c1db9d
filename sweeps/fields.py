"""Fields of a sweep file with rules of their own: objectives, workers, measurement."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, PlainValidator, ValidationError

from sweeps.metrics import OBJECTIVES, Direction
from sweeps.mistakes import expected, refuse, relocated, strictly, unknown_name, wrong
from sweeps.schema_parts import AsWritten
from sweeps.trial import MeasureSpec


def _objectives(value: Any) -> dict[str, Direction]:
    if not isinstance(value, dict):
        raise refuse(wrong(expected("{metric: maximize or minimize}", value), value=value))
    mistakes = [
        unknown_name("objective", name, OBJECTIVES, (name,), at_key=True)
        for name in value
        if name not in OBJECTIVES
    ]
    for name, direction in value.items():
        if direction not in ("maximize", "minimize"):
            mistakes.append(
                unknown_name("direction", str(direction), ("maximize", "minimize"), (name,))
            )
    if not value:
        mistakes.append(wrong("must not be empty, got {}", value=value))
    if mistakes:
        raise refuse(*mistakes)
    return value


def _objectives_schema() -> dict[str, Any]:
    directions = {"enum": ["maximize", "minimize"]}
    properties = {name: {"description": text, **directions} for name, text in OBJECTIVES.items()}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }


def _workers(value: Any) -> int | Literal["auto"]:
    if value == "auto" or (type(value) is int and value >= 1):
        return value  # type: ignore[no-any-return]
    raise refuse(wrong(expected("auto or a whole number of at least 1", value), value=value))


def _workers_schema() -> dict[str, Any]:
    return {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}


PRIORITIES: Final = {"low": 1, "normal": 3, "high": 9}
"""Weights by name: each step up gets three times the workers."""
HIGHEST_PRIORITY: Final = 100


def _priority(value: Any) -> int:
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise refuse(unknown_name("priority", value, PRIORITIES))
        return PRIORITIES[value]
    if type(value) is int and 1 <= value <= HIGHEST_PRIORITY:
        return value
    noun = f"low, normal, high or a whole number from 1 to {HIGHEST_PRIORITY}"
    raise refuse(wrong(expected(noun, value), value=value))


def _priority_schema() -> dict[str, Any]:
    number = {"type": "integer", "minimum": 1, "maximum": HIGHEST_PRIORITY}
    return {"anyOf": [{"enum": list(PRIORITIES)}, number]}


def _measure(value: Any) -> MeasureSpec:
    if isinstance(value, MeasureSpec):
        return value
    if not isinstance(value, list):
        return strictly(MeasureSpec, value)
    try:
        return strictly(MeasureSpec, {"what": value})
    except ValidationError as error:
        mistakes = (relocated(each, each["loc"][1:]) for each in error.errors())
        raise refuse(*mistakes) from None


def _measure_schema() -> dict[str, Any]:
    spec = MeasureSpec.model_json_schema()
    spec["properties"]["what"]["contains"] = {"const": "cost"}
    return {"anyOf": [spec["properties"]["what"], spec]}


Objectives = Annotated[
    dict[str, Direction], PlainValidator(_objectives), AsWritten(_objectives_schema)
]
Workers = Annotated[int | Literal["auto"], PlainValidator(_workers), AsWritten(_workers_schema)]
Priority = Annotated[int, PlainValidator(_priority), AsWritten(_priority_schema)]
Measure = Annotated[MeasureSpec, BeforeValidator(_measure), AsWritten(_measure_schema)]
