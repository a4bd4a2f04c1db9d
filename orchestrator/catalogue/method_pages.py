"""Everything about one method, as a row of plain values."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Final

import yaml
from pydantic.fields import FieldInfo

from methods import registry
from methods.kvpress import _environment, _press
from methods.naming import nearest
from methods.registry import MethodEntry
from orchestrator.catalogue.method_listings import EXTERNAL, PLANNED, Row, example_of, methods
from orchestrator.catalogue.page_parts import allowed, as_text
from sweeps.patterns import is_pattern, matching

NEEDS: Final = {
    "needs_cls": "the class token's attention",
    "needs_attention": "the block's whole attention (N x N)",
    "needs_next_attention": "the next block's attention, one step ahead",
    "needs_future": "what tokens will be good for, from a rehearsal",
    "proportional_attention": "log(size) added to later attention logits",
}
"""Class variables of methods, in words."""


def page(name: str) -> Row:
    """One method by any name that a sweep file gives it, or a planned one by its id.

    Raises ValueError that names the nearest.
    """
    listed = {row["id"]: row for row in methods()}
    row = listed.get(_id_of(name))
    if row is None:
        raise ValueError(_unknown(name, list(listed)))
    if row["status"] == PLANNED:
        return row
    entry = registry.entry(row["id"])
    is_external = row["status"] == EXTERNAL
    return {
        **row,
        "schedule": entry.method.home.label,
        "needs": [NEEDS[flag] for flag in NEEDS if getattr(entry.method, flag, False) is True],
        "version": entry.method.version,
        "hyperparameters": {
            name: _described(field) for name, field in entry.method.model_fields.items()
        },
        "yaml": example(entry),
        "environment": _environment_of_presses() if is_external else None,
        "about": "" if is_external else as_text(inspect.getdoc(_module(entry)) or ""),
    }


def example(entry: MethodEntry) -> str:
    """A line for a sweep file: the method with its defaults, or with values that make sense."""
    built = example_of(entry)
    params = built.model_dump(mode="json", exclude_unset=not entry.stands_alone)
    choice = {entry.id: params} if params else entry.id
    written = yaml.safe_dump([choice], default_flow_style=True, sort_keys=False, width=10**6)
    return f"methods: {written.strip()}"


def _id_of(name: str) -> str:
    """``tome`` for ``vision/tome``; what names no single method stays as it is."""
    found = [] if is_pattern(name) else matching(name)
    return found[0].id if len(found) == 1 else name


def _unknown(name: str, listed: list[str]) -> str:
    if is_pattern(name):
        return f"{name!r} is a pattern; 'paretoken methods --family' lists several"
    is_press = _environment.is_press(name)
    near = nearest(name, [id_ for id_ in listed if _environment.is_press(id_) or not is_press])
    reason = _press.why_unknown(name) if is_press else ""
    hint = reason or (f"; did you mean {near!r}?" if near else "")
    return f"unknown method {name!r}{hint} ('paretoken methods' lists them)"


def _described(field: FieldInfo) -> str:
    """Default, meaning, and what is allowed."""
    default = "required" if field.is_required() else repr(field.default)
    within = allowed(field)
    return f"{default}: {field.description}{f' ({within})' if within else ''}"


def _module(entry: MethodEntry) -> ModuleType:
    return sys.modules[entry.method.__module__]


def _environment_of_presses() -> str:
    return (
        f"kvpress {_press.table()['kvpress']} needs one of its own; "
        f"{_environment.how_to_build()}; here: {_environment.interpreter() or 'none yet'}"
    )
