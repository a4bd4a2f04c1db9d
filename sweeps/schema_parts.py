"""JSON Schema for values that a sweep file may write in several ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class AsWritten:
    """Annotation: this type's JSON Schema, made when asked for, because registries grow."""

    schema: Callable[[], dict[str, Any]]

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.schema()


def named(descriptions: dict[str, str]) -> dict[str, Any]:
    """One of these names, each with what an editor shows beside it."""
    return {"oneOf": [{"const": name, "description": text} for name, text in descriptions.items()]}


def with_parameters(descriptions: dict[str, str], parameters: dict[str, Any]) -> dict[str, Any]:
    """A mapping of one name to its parameters; ``parameters`` holds a schema for each name."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {
            name: {"description": text, **parameters[name]} for name, text in descriptions.items()
        },
    }


def or_list(schema: dict[str, Any]) -> dict[str, Any]:
    """The value itself, or a list of values that makes an axis of the sweep."""
    shown: dict[str, Any] = {
        key: schema[key] for key in ("description", "default") if key in schema
    }
    one = {key: value for key, value in schema.items() if key not in shown}
    return {**shown, "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def first_sentence(text: str | None) -> str:
    """What a docstring says first."""
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0]
