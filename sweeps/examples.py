"""A task's examples as people read them; imports the task, and torch with it, when asked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

    from sweeps.tasks.base import Task

SMALL: Final = 64
"""Numbers of an input that are written out; of larger ones only type and shape are."""


def with_inputs(row: dict[str, Any]) -> dict[str, Any]:
    """An answer about examples that break, with ``inputs`` by example.

    ``row`` names the ``task``, the fingerprint of its ``data``, and examples that changed or are
    lost. Raises ValueError if the examples are no longer those that were measured.
    """
    from sweeps.tasks import registry

    if row.get("task") is None:
        return row
    task = registry.build(row["task"]["id"], row["task"]["params"])
    if task.data_fingerprint() != row["data"]:
        raise ValueError(f"the examples of task {task.id!r} are no longer those that were measured")
    return {**row, "inputs": {number: inputs(task, number) for number in _mentioned(row)}}


def inputs(task: Task[Any, Any], example: int) -> dict[str, Any]:
    """One example: its small fields in numbers, of the large ones type and shape."""
    from sweeps.tasks._requests import only_row

    only = only_row(task, example)
    fields = {field.name: getattr(only, field.name) for field in dataclasses.fields(only)}
    return {name: _small(tensor[0]) for name, tensor in fields.items()} | task.readable(only)


def _mentioned(row: dict[str, Any]) -> list[int]:
    changed = [each["example"] for each in row.get("examples_changed", ())]
    lost = [example for hard in row.get("hardest", ()) for example in hard["lost"]]
    return sorted({*changed, *lost})


def _small(tensor: Tensor) -> Any:
    if tensor.numel() <= SMALL:
        return tensor.tolist()
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
