"""The folder is the registry: a file in ``tasks/`` is a task, its docstring is the task's card."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any

from methods.registry import unknown
from sweeps import tasks
from sweeps.tasks.base import Task

NOT_TASKS = frozenset({"base", "registry"})


@dataclass(frozen=True)
class TaskEntry:
    """A task as its file registers it: id and class."""

    id: str
    task: type[Task[Any, Any]]

    @property
    def card(self) -> str:
        """What its module says of it: data, outcome, what it can show and what not."""
        return inspect.getdoc(inspect.getmodule(self.task)) or ""


@cache
def entries() -> dict[str, TaskEntry]:
    """All tasks by id, sorted. Raises ImportError for a malformed file."""
    names = sorted(m.name for m in pkgutil.iter_modules(tasks.__path__))
    found = [_load(name) for name in names if name[0] != "_" and name not in NOT_TASKS]
    return {entry.id: entry for entry in found}


def entry(task_id: str) -> TaskEntry:
    """The entry of ``task_id``. Raises ValueError that names the nearest id."""
    try:
        return entries()[task_id]
    except KeyError:
        raise ValueError(unknown("task", task_id, entries())) from None


def build(task_id: str, params: dict[str, Any]) -> Task[Any, Any]:
    """The task with these parameters; raises ValueError for unknown ids or values."""
    return entry(task_id).task(**params)


def _load(name: str) -> TaskEntry:
    module = importlib.import_module(f"{tasks.__name__}.{name}")
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Task)
        and value.__module__ == module.__name__
        and value.__pydantic_generic_metadata__["origin"] is None  # pydantic puts Task[...] there
    ]
    if len(defined) != 1:
        raise ImportError(f"{module.__file__} must define one Task, found {len(defined)}")
    task_id = name.replace("_", "-")
    if defined[0].id != task_id:
        raise ImportError(f"{module.__file__} defines task {defined[0].id!r}, not {task_id!r}")
    return TaskEntry(task_id, defined[0])
