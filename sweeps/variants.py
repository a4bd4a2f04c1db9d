"""Methods and schedules as a sweep file writes them: a name, and values to try per parameter."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    ValidationError,
)

from methods.base import Method
from methods.registry import MethodEntry
from methods.schedule import KINDS, Schedule
from sweeps.mistakes import (
    Loc,
    expected,
    refuse,
    relocated,
    show,
    strictly,
    unknown_name,
    wrong,
)
from sweeps.patterns import (
    is_pattern,
    matching,
    method_descriptions,
    pattern_schema,
    require_method,
)
from sweeps.schema_parts import AsWritten, first_sentence, named, or_list, with_parameters
from sweeps.stacks import STACK, is_stack, stacks

Axes = dict[str, list[JsonValue]]
SCHEDULES: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in KINDS
}


class PapersOwn(BaseModel):
    """For each method the schedule of its paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")


PAPER = "paper"
CHOICES: dict[str, type[BaseModel]] = SCHEDULES | {PAPER: PapersOwn}


class Choice(BaseModel):
    """A name and, for each of its parameters that was given, the values to try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    axes: Axes = Field(default_factory=dict)

    @property
    def written(self) -> JsonValue:
        """The choice as a sweep file writes it."""
        if not self.axes:
            return self.name
        return {self.name: {key: list(values) for key, values in self.axes.items()}}

    def combinations(self) -> list[dict[str, JsonValue]]:
        """Every combination of the parameters' values, in the order of the file."""
        values = itertools.product(*self.axes.values())
        return [dict(zip(self.axes, combination, strict=True)) for combination in values]


class MethodChoice(Choice):
    """One method with hyperparameters, or a pattern that stands for several methods."""

    def expand(self) -> list[tuple[MethodEntry, Method]]:
        """The methods that are meant, in the registry's order."""
        return [
            (entry, strictly(entry.method, params))
            for entry in matching(self.name)
            for params in self.combinations()
        ]


class ScheduleChoice(Choice):
    """One kind of schedule with its parameters."""

    def expand(self) -> list[Schedule | None]:
        """The schedules that are meant; None is that of the method's paper."""
        if self.name == PAPER:
            return [None]
        kind: Any = SCHEDULES[self.name]
        return [strictly(kind, params) for params in self.combinations()]


def parse_method(value: Any) -> MethodChoice:
    """A method as a sweep file writes it. Raises ValidationError."""
    if isinstance(value, MethodChoice):
        return value
    if is_stack(value):
        return MethodChoice(name=STACK, axes={"stages": stacks(value[STACK], _combinations)})
    name, params = _name_and_params(value, "a method, a pattern or {method: {parameter: value}}")
    loc = (name,) if isinstance(value, dict) else ()
    require_method(name, loc)
    if not params:
        _require_no_more(name, loc, value)
        return MethodChoice(name=name)
    if is_pattern(name):
        sentence = f"parameters belong to one method; {show(name)} is a pattern"
        raise refuse(wrong(sentence, (name,), value, at_key=True))
    return MethodChoice(name=name, axes=_axes(name, matching(name)[0].method, params))


def _require_no_more(name: str, loc: Loc, value: Any) -> None:
    """Refuse a method alone that means nothing without parameters."""
    for entry in matching(name):
        needed = [key for key, each in entry.method.model_fields.items() if each.is_required()]
        if needed:
            sentence = f"{entry.id} says nothing without {', '.join(needed)}"
            raise refuse(wrong(f"{sentence}; see: paretoken methods {entry.id}", loc, value))


def _combinations(value: Any) -> list[tuple[str, dict[str, JsonValue]]]:
    choice = parse_method(value)
    return [
        (entry.id, params) for entry in matching(choice.name) for params in choice.combinations()
    ]


def parse_schedule(value: Any) -> ScheduleChoice:
    """A schedule as a sweep file writes it. Raises ValidationError."""
    if isinstance(value, ScheduleChoice):
        return value
    name, params = _name_and_params(value, "a schedule or {schedule: {parameter: value}}")
    if name not in CHOICES:
        loc = (name,) if isinstance(value, dict) else ()
        raise refuse(unknown_name("schedule", name, CHOICES, loc, at_key=bool(loc)))
    return ScheduleChoice(name=name, axes=_axes(name, CHOICES[name], params, hidden=("kind",)))


def _name_and_params(value: Any, noun: str) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict) or len(value) != 1:
        raise refuse(wrong(expected(noun, value), value=value))
    ((name, params),) = value.items()
    if not isinstance(params, dict | None):
        sentence = expected("a mapping of parameters", params)
        raise refuse(wrong(sentence, (name,), params))
    return name, params or {}


def _axes(
    name: str, model: type[BaseModel], params: dict[str, Any], hidden: Sequence[str] = ()
) -> Axes:
    """The values of every parameter, each checked alone and then in every combination."""
    known = [key for key in model.model_fields if key not in hidden]
    mistakes = [
        unknown_name(f"parameter of {name}", key, known, (name, key), at_key=True)
        for key in params
        if key not in known
    ]
    axes = {key: _values(model, key, value) for key, value in params.items() if key in known}
    for key, values in axes.items():
        for index, value in enumerate(values):
            loc = (name, key, index) if values != [params[key]] else (name, key)
            mistakes += _mistakes(model, {key: value}, key, loc)
        if not values:
            mistakes.append(wrong("must not be empty, got []", (name, key), values))
    if mistakes:
        raise refuse(*mistakes)
    for params in Choice(name=name, axes=axes).combinations():
        try:
            strictly(model, params)
        except ValidationError as error:
            raise refuse(*(relocated(d, (name, *d["loc"])) for d in error.errors())) from None
    return axes


def _values(model: type[BaseModel], key: str, value: Any) -> list[Any]:
    """A list is an axis, unless the parameter itself takes that list."""
    if not isinstance(value, list) or not _mistakes(model, {key: value}, key, ()):
        return [value]
    return value


def _mistakes(model: type[BaseModel], params: dict[str, Any], key: str, loc: Loc) -> list[Any]:
    """What is wrong with one parameter; missing others are checked with the combination."""
    try:
        strictly(model, params)
    except ValidationError as error:
        own = [details for details in error.errors() if details["loc"][:1] == (key,)]
        return [relocated(details, (*loc, *details["loc"][1:])) for details in own]
    return []


def _write(choice: Choice) -> JsonValue:
    return choice.written


def _parameter_schema(model: type[BaseModel], hidden: Iterable[str] = ()) -> dict[str, Any]:
    schema = model.model_json_schema()
    shown = {
        key: {} if "$ref" in str(value) else or_list(value)
        for key, value in schema.get("properties", {}).items()
        if key not in hidden
    }
    needed = [key for key in schema.get("required", ()) if key not in hidden]
    closed = {"properties": shown, "additionalProperties": False}
    if needed:
        return {"type": "object", "required": needed, **closed}
    return {"type": ["object", "null"], **closed}


def _method_schema() -> dict[str, Any]:
    parameters = {
        name: _parameter_schema(matching(name)[0].method) for name in method_descriptions()
    }
    short = {"type": "array", "minItems": 1, "description": "Methods, one for each place."}
    for name in parameters:
        if matching(name)[0].id == STACK:
            parameters[name] = {"anyOf": [parameters[name], short]}
    return {"anyOf": [pattern_schema(), with_parameters(method_descriptions(), parameters)]}


def _schedule_schema() -> dict[str, Any]:
    texts = {name: first_sentence(model.__doc__) for name, model in CHOICES.items()}
    parameters = {
        name: _parameter_schema(model, hidden=("kind",)) for name, model in CHOICES.items()
    }
    return {"anyOf": [named(texts), with_parameters(texts, parameters)]}


MethodItem = Annotated[
    MethodChoice,
    PlainValidator(parse_method),
    PlainSerializer(_write),
    AsWritten(_method_schema),
]
ScheduleItem = Annotated[
    ScheduleChoice,
    PlainValidator(parse_schedule),
    PlainSerializer(_write),
    AsWritten(_schedule_schema),
]
