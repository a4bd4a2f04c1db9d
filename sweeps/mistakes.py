"""Mistakes in a sweep file, in words: what is wrong, what is allowed, which name is nearest.

Models of the file derive from :class:`Part`, which rewrites what pydantic says into one sentence
per mistake. The sentence, the choices and the nearest name travel as the context of a pydantic
error, so that the loader only has to add line and column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from methods import naming

Loc = tuple[int | str, ...]
"""Path to a value of the file: keys and list indices from the top."""
ModelT = TypeVar("ModelT", bound=BaseModel)

MISTAKE = "mistake"
LONGEST_VALUE = 60  # characters of a value that a sentence repeats
NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    "dict": "a mapping",
    "model": "a mapping",
    "list": "a list",
    "tuple": "a list",
}
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a sweep file."""

    message: str
    """One sentence, without the place."""
    file: str
    line: int | None = None
    """Counted from 1; None where no place in the text is at fault."""
    column: int | None = None
    path: str = ""
    """Keys and list indices from the top, joined by dots."""
    value: str | None = None
    """The offending value as the sentence shows it."""
    choices: tuple[str, ...] = ()
    nearest: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class SweepFileError(ValueError):
    """All mistakes of one sweep file, in the order of its text; ``str`` gives one line for each."""

    def __init__(self, errors: Iterable[Mistake]) -> None:
        once = dict.fromkeys(errors)
        self.errors = tuple(sorted(once, key=lambda m: (m.line or 0, m.column or 0)))
        super().__init__("\n".join(map(str, self.errors)))

    def __reduce__(self) -> tuple[type[SweepFileError], tuple[tuple[Mistake, ...]]]:
        return type(self), (self.errors,)


class Part(BaseModel):
    """A piece of a sweep file: frozen, unknown keys refused, its errors in our words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise in_words(error, cls) from None


def strictly(model: type[ModelT], data: Any) -> ModelT:
    """``data`` (plain JSON values) as a model, without turning text or booleans into numbers."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise in_words(error, model) from None


def in_words(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """The same mistakes, each with a sentence that names the value and what is allowed."""
    return ValidationError.from_exception_data(
        error.title, [_explained(details, model) for details in error.errors() if _own(details)]
    )


def wrong(
    sentence: str,
    loc: Loc = (),
    value: Any = None,
    *,
    choices: Iterable[str] = (),
    nearest: str | None = None,
    at_key: bool = False,
) -> InitErrorDetails:
    """One mistake at ``loc``; ``at_key`` blames the key of that value instead of the value."""
    context = {
        "sentence": sentence,
        "choices": tuple(choices),
        "nearest": nearest,
        "at_key": at_key,
    }
    kind = PydanticCustomError(MISTAKE, "{sentence}", context)
    return InitErrorDetails(type=kind, loc=loc, input=value)


def relocated(details: ErrorDetails, loc: Loc) -> InitErrorDetails:
    """A mistake that is in words already, at another place."""
    kind = PydanticCustomError(MISTAKE, "{sentence}", details["ctx"])
    return InitErrorDetails(type=kind, loc=loc, input=details["input"])


def refuse(*mistakes: InitErrorDetails) -> ValidationError:
    """The error to raise for these mistakes inside a validator."""
    return ValidationError.from_exception_data("sweep file", list(mistakes))


def unknown_name(
    kind: str,
    value: str,
    choices: Iterable[str],
    loc: Loc = (),
    *,
    nearest: str | None = None,
    at_key: bool = False,
    otherwise: str = "",
) -> InitErrorDetails:
    """A name that does not exist, with the nearest one that does.

    ``otherwise`` ends the sentence: what to write if none of the choices is meant.
    """
    names = tuple(choices)
    nearest = nearest or naming.nearest(value, names)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    listed = f" (choices: {', '.join(names)})" if names else ""
    sentence = f"unknown {kind} {show(value)}{hint}{listed}{otherwise}"
    return wrong(sentence, loc, value, choices=names, nearest=nearest, at_key=at_key)


def show(value: Any) -> str:
    """A value as YAML writes it, shortened."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def expected(noun: str, value: Any) -> str:
    """The sentence for a value of the wrong kind."""
    hint = ""
    if isinstance(value, bool) and noun == NOUNS["string"]:
        hint = " (YAML reads yes, no, on and off as booleans; quotes make them text)"
    return f"expected {noun}, got {show(value)}{hint}"


def _own(details: ErrorDetails) -> bool:
    """Pydantic calls a list too short as well when its items are wrong: that is one mistake."""
    return details["type"] != "too_short" or not details["input"]


def _explained(details: ErrorDetails, model: type[BaseModel]) -> InitErrorDetails:
    kind, loc, value = details["type"], details["loc"], details["input"]
    context = details.get("ctx", {})
    if kind == MISTAKE:
        return relocated(details, loc)
    if kind == "missing":
        return wrong(f"missing key {loc[-1]!r}", loc[:-1], None, at_key=True)
    if kind == "extra_forbidden":
        keys = [field.alias or name for name, field in _owner(model, loc).model_fields.items()]
        return unknown_name("key", str(loc[-1]), keys, loc, at_key=True)
    if kind == "literal_error" and isinstance(value, str):
        return unknown_name("value", value, re.findall("'([^']*)'", context["expected"]), loc)
    key = next((f"{step}: " for step in reversed(loc) if isinstance(step, str)), "")
    return wrong(f"{key}{_sentence(details)}", loc, value)


def _sentence(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    for limit, words in LIMITS.items():
        if limit in context:
            return f"must be {words} {context[limit]:g}, got {show(value)}"
    if kind in ("too_short", "string_too_short"):
        return f"must not be empty, got {show(value)}"
    if kind == "string_pattern_mismatch":
        return f"must match the pattern {context['pattern']}, got {show(value)}"
    if kind == "value_error":
        return f"{context['error']}"
    if kind == "int_from_float":
        return expected(NOUNS["int"], value)
    noun = NOUNS.get(kind.split("_")[0])
    if noun and kind.endswith(("_type", "_parsing", "_number")):
        return expected(noun, value)
    message = details["msg"].removeprefix("Input should be")
    return f"must be {message.strip()}, got {show(value)}"


def _owner(model: type[BaseModel], loc: Loc) -> type[BaseModel]:
    """The model whose key ``loc`` names, seen from ``model``."""
    for step in loc[:-1]:
        field = model.model_fields.get(str(step))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return model
