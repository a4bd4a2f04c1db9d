"""What tasks share in reading a request's inputs."""

from __future__ import annotations

from typing import Any

from sweeps.tasks.base import BatchT, Task


def only_key(inputs: dict[str, Any], choices: tuple[str, ...]) -> str:
    """The one key of `inputs`. Raises ValueError if it is not exactly one of `choices`."""
    keys = list(inputs)
    if len(keys) != 1 or keys[0] not in choices:
        raise ValueError(f"inputs must hold exactly one of {', '.join(choices)}; got {keys}")
    return keys[0]


def example_index(value: Any, num_examples: int) -> int:
    """`value` as an index into the task's examples. Raises ValueError if it is not one."""
    if not is_integer(value) or not 0 <= value < num_examples:
        raise ValueError(f"example must be an integer from 0 to {num_examples - 1}; got {value!r}")
    return int(value)


def only_row(task: Task[Any, BatchT], value: Any) -> BatchT:
    """A batch of the one example of the task that ``value`` is the index of.

    Raises ValueError for no index.
    """
    batches = task.batches()
    sizes = [len(batch) for batch in batches]
    row = example_index(value, sum(sizes))
    number = 0
    while row >= sizes[number]:
        row -= sizes[number]
        number += 1
    return task.part_of(batches[number], row, row + 1)


def is_integer(value: Any) -> bool:
    """Whether a JSON value is an integer; in Python, true and false would count as well."""
    return isinstance(value, int) and not isinstance(value, bool)
