"""A stack as a sweep file writes it: ``stack: [snapkv, {kivi: {bits: 4}}]``.

Each stage is a method with its hyperparameters, and beside them ``keep``, ``schedule`` or ``at`` of
its own. Lists of values are axes, as they are everywhere: every combination is a stack.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from pydantic import JsonValue, ValidationError

from methods.composition.stack import Stack
from sweeps.mistakes import expected, refuse, relocated, strictly, wrong

STACK = Stack.id()
OWN = ("keep", "schedule", "at")
Combinations = Callable[[Any], list[tuple[str, dict[str, JsonValue]]]]
"""From a method as a sweep file writes it to its id and each combination of hyperparameters."""


def is_stack(value: Any) -> bool:
    """Whether this is a stack in the short form."""
    return isinstance(value, dict) and set(value) == {STACK} and isinstance(value[STACK], list)


def stacks(items: list[Any], combinations: Combinations) -> list[JsonValue]:
    """Every stack that a list of stages means. Raises ValidationError, located in the list."""
    if not items:
        raise refuse(wrong("must not be empty, got []", (STACK,), items))
    stages = [_stages(item, index, combinations) for index, item in enumerate(items)]
    found: list[JsonValue] = [list(each) for each in itertools.product(*stages)]
    for stack in found:
        _check(stack)
    return found


def _stages(item: Any, index: int, combinations: Combinations) -> list[JsonValue]:
    """One stage with every combination of its values."""
    own = {}
    if isinstance(item, dict) and len(item) == 1:
        ((name, params),) = item.items()
        if isinstance(params, dict):
            own = {key: params[key] for key in OWN if key in params}
            rest = {key: value for key, value in params.items() if key not in OWN}
            item = {name: rest} if rest else name
    try:
        chosen = combinations(item)
    except ValidationError as error:
        at = (STACK, index)
        raise refuse(*(relocated(d, (*at, *d["loc"])) for d in error.errors())) from None
    if not chosen:
        raise refuse(wrong(expected("one method", item), (STACK, index), item))
    return [
        {"method": method, "params": params, **dict(zip(own, values, strict=True))}
        for method, params in chosen
        for values in itertools.product(*map(_values, own.values()))
    ]


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check(stack: JsonValue) -> None:
    try:
        strictly(Stack, {"stages": stack})
    except ValidationError as error:
        found = error.errors()
        raise refuse(*(relocated(d, (STACK, *_place(d["loc"]))) for d in found)) from None


def _place(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Within the list of stages; which key of a stage was wrong is said in the sentence."""
    return loc[1:2]
