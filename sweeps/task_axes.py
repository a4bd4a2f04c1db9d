"""Lists among a task's parameters: one workload in the file, several in the sweep.

``task: {id: shape-kv, prompt_length: [2048, 8192]}`` in workload ``cache`` makes the workloads
``cache-2048`` and ``cache-8192``. Examples that differ have a frontier each, so that they are
workloads and not another column of one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import InitErrorDetails

from sweeps.mistakes import Loc, wrong


@dataclass(frozen=True)
class Origin:
    """Where in the file a workload comes from."""

    workload: str
    chosen: Mapping[str, int]
    """Place in its list of every parameter that had one."""


@dataclass
class Expanded:
    """A sweep file's content with every workload spelt out."""

    data: Any = field(compare=False)
    origins: dict[str, Origin] = field(default_factory=dict, compare=False)
    mistakes: list[InitErrorDetails] = field(default_factory=list, compare=False)

    def written(self, loc: Loc, *, at_key: bool = False) -> Loc:
        """The place in the file of a value, or of its key."""
        if len(loc) < 2 or loc[0] != "workloads" or loc[1] not in self.origins:
            return loc
        origin, rest = self.origins[str(loc[1])], loc[2:]
        if rest[:1] == ("task",) and len(rest) > 1 and rest[1] in origin.chosen and not at_key:
            rest = (*rest[:2], origin.chosen[str(rest[1])], *rest[2:])
        return ("workloads", origin.workload, *rest)


def expanded(data: Any) -> Expanded:
    """Content as written, valid or not; what has no lists comes back as it is."""
    workloads = data.get("workloads") if isinstance(data, dict) else None
    if not isinstance(workloads, dict) or not any(map(_axes, workloads.values())):
        return Expanded(data)
    found = Expanded({**data, "workloads": {}})
    for name, workload in workloads.items():
        for new, origin, content in _spelt_out(name, workload):
            taken = new in found.data["workloads"] or (new != name and new in workloads)
            if taken:
                sentence = f"{name} stands for several workloads, one of them {new!r}: twice"
                found.mistakes.append(wrong(sentence, ("workloads", name), at_key=True))
            found.data["workloads"][new] = content
            found.origins[new] = origin
    return found


def _axes(workload: Any) -> dict[str, list[Any]]:
    """Lists that are not empty among the parameters of a workload's task."""
    task = workload.get("task") if isinstance(workload, dict) else None
    params = task if isinstance(task, dict) else {}
    return {name: value for name, value in params.items() if isinstance(value, list) and value}


def _spelt_out(name: str, workload: Any) -> Iterator[tuple[str, Origin, Any]]:
    axes = _axes(workload)
    for places in itertools.product(*(_places(values) for values in axes.values())):
        chosen = dict(zip(axes, places, strict=True))
        values = {axis: axes[axis][place] for axis, place in chosen.items()}
        content = workload
        if values:
            content = {**workload, "task": {**workload["task"], **values}}
        words = (re.sub(r"[^a-z0-9_-]", "_", str(value).lower()) for value in values.values())
        yield "-".join([str(name), *words]), Origin(name, chosen), content


def _places(values: list[Any]) -> list[int]:
    """Where each value stands first."""
    return [place for place, value in enumerate(values) if value not in values[:place]]
