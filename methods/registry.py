"""The folder is the registry: a file in a family's folder, such as ``vision/``, is a method.

``vision/tome.py`` defines the method ``tome`` of the family ``vision``. Controls attach everywhere,
so ``vision/*`` means the methods in ``vision/`` and the controls.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any

import methods
from methods.base import Method
from methods.kvpress import _environment, _press
from methods.naming import unknown as unknown
from methods.places import Place

PRESSES = _environment.NAME
NOT_FAMILIES = frozenset({"backbones"})


@dataclass(frozen=True)
class MethodEntry:
    """A method as its file and folder register it: id, family, class."""

    id: str
    family: str
    method: type[Method]

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the method attaches."""
        return self.method.places

    @property
    def stands_alone(self) -> bool:
        """Whether every hyperparameter has a default."""
        return not any(field.is_required() for field in self.method.model_fields.values())


@cache
def families() -> tuple[str, ...]:
    """Folders of methods, sorted."""
    folders = (m.name for m in pkgutil.iter_modules(methods.__path__) if m.ispkg)
    return tuple(sorted(set(folders) - NOT_FAMILIES))


@cache
def entries() -> dict[str, MethodEntry]:
    """All methods by id, sorted by family and id. Raises ImportError for a malformed file."""
    found = [_load(family, name) for family in families() for name in _module_names(family)]
    by_id = {entry.id: entry for entry in found}
    if len(by_id) < len(found):
        raise ImportError(f"two method files share a name: {sorted(e.id for e in found)}")
    return by_id


@cache
def presses() -> dict[str, MethodEntry]:
    """Methods that another library brings, by id; no pattern but their own means them."""
    found = _press.presses().items()
    return {id_: MethodEntry(id_, PRESSES, press) for id_, press in found}


def entry(method_id: str) -> MethodEntry:
    """The entry of ``method_id``. Raises ValueError that names the nearest id."""
    is_press = _environment.is_press(method_id)
    known = presses() if is_press else entries()
    if method_id not in known:
        reason = _press.why_unknown(method_id) if is_press else ""
        raise ValueError(unknown("method", method_id, known) + reason)
    return known[method_id]


def build(method_id: str, hyperparameters: dict[str, Any]) -> Method:
    """The method with these hyperparameters; raises ValueError for unknown ids or values."""
    return entry(method_id).method(**hyperparameters)


def _module_names(family: str) -> list[str]:
    package = importlib.import_module(f"{methods.__name__}.{family}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def _load(family: str, name: str) -> MethodEntry:
    module = importlib.import_module(f"{methods.__name__}.{family}.{name}")
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        # pydantic leaves TokenMethod[SomeContext] in the module that subscripts it first
        and value.__pydantic_generic_metadata__["origin"] is None
    ]
    if len(defined) != 1:
        raise ImportError(f"{module.__file__} must define one Method, found {len(defined)}")
    return MethodEntry(defined[0].id(), family, defined[0])
