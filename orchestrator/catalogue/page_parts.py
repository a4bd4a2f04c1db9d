"""What pages share: parameters with what is allowed, docstrings as text."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeps.mistakes import LIMITS

Row = dict[str, Any]


def parameters(model: type[BaseModel]) -> list[Row]:
    """Every field: name, default (None where it is required), what is allowed, meaning."""
    return [
        {
            "name": name,
            "required": field.is_required(),
            "default": None if field.is_required() else field.default,
            "allowed": allowed(field),
            "description": field.description,
        }
        for name, field in model.model_fields.items()
    ]


def allowed(field: FieldInfo) -> str:
    """Limits of a number or the choices of a Literal, in words; empty where there are none."""
    limits = [
        f"{words} {getattr(limit, name)}"
        for limit in field.metadata
        for name, words in LIMITS.items()
        if hasattr(limit, name)
    ]
    return ", ".join(limits or map(str, _choices(field)))


def as_text(docstring: str) -> str:
    """Paragraphs and list items on one line each, for a terminal of any width, without roles."""
    plain = re.sub(r":\w+:`~?([^`]+)`", r"\1", docstring)
    return re.sub(r"(?<!\n)\n(?![\n-])\s*", " ", plain)


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    """Values of a Literal."""
    values = get_args(field.annotation)
    return values if all(isinstance(value, str) for value in values) else ()
