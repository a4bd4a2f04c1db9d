"""What makes two trials different, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from methods.naming import short
from methods.schedule import Schedule

Spec = Mapping[str, Any]
"""A :class:`sweeps.trial.TrialSpec` as JSON."""

_schedule: TypeAdapter[Any] = TypeAdapter(Schedule)


def axes_changed(one: Spec, other: Spec) -> Iterator[tuple[str, str]]:
    """Axes of the sweep file on which ``other`` lies elsewhere: the axis and its value there."""
    yield from _if_differs("task", one["task"]["id"], other["task"]["id"])
    yield from _if_differs("backbone", one["backbone"]["name"], other["backbone"]["name"])
    yield from _if_differs("seed", one["seed"], other["seed"])
    yield from _if_differs("method", one["method"]["id"], other["method"]["id"])
    if one["schedule"] != other["schedule"]:
        yield "schedule", _schedule.validate_python(other["schedule"]).label
    yield from _if_differs("keep", one["keep_ratio"], other["keep_ratio"])


def conditions_changed(before: Spec, after: Spec) -> Iterator[str]:
    """What is not an axis and differs, as ``name old -> new``.

    What follows from another difference is left out: the data of another number of examples, the
    weights of another seed.
    """
    if before["method"]["id"] == after["method"]["id"]:
        yield from _arrows(
            "method version", before["method"]["version"], after["method"]["version"]
        )
        yield from _mappings("", before["method"]["params"], after["method"]["params"])
    if before["task"]["id"] == after["task"]["id"]:
        yield from _task_changed(before, after)
    if before["backbone"]["name"] == after["backbone"]["name"]:
        yield from _backbone_changed(before, after)
    yield from _mappings("measure.", before["measure"], after["measure"])


def _task_changed(before: Spec, after: Spec) -> Iterator[str]:
    one, other = before["task"], after["task"]
    changed = [
        *_arrows("task version", one["version"], other["version"]),
        *_mappings("", one["params"], other["params"]),
    ]
    yield from changed or _arrows("data", before["data"], after["data"])


def _backbone_changed(before: Spec, after: Spec) -> Iterator[str]:
    one, other = before["backbone"], after["backbone"]
    changed = [
        *_arrows("dtype", one["dtype"], other["dtype"]),
        *_arrows("revision", one.get("revision"), other.get("revision")),
    ]
    if not changed and before["seed"] == after["seed"]:
        changed = [*_arrows("weights", short(one["fingerprint"]), short(other["fingerprint"]))]
    yield from changed


def _if_differs(axis: str, one: object, other: object) -> Iterator[tuple[str, str]]:
    if one != other:
        yield axis, f"{other:g}" if isinstance(other, float) else str(other)


def _arrows(name: str, before: object, after: object) -> Iterator[str]:
    if before != after:
        yield f"{name} {_text(before)} -> {_text(after)}"


def _mappings(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        yield from _arrows(f"{prefix}{name}", before.get(name), after.get(name))


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "none" if value is None else str(value)
