"""A configuration as text to take elsewhere: a sweep file of its own, a request to a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from methods.naming import short
from store.frontiers.frontier import SeedGroup

Json = Mapping[str, Any]
SERVER: Final = "http://127.0.0.1:8000"
"""Where ``paretoken serve`` listens if nobody says otherwise."""
_AXES: Final = ("seeds", "keep", "methods", "exclude", "schedules")
_LEFT: Final = ("budget", "search", "priority", "$schema", "description")


def as_yaml(sweep: Json, group: SeedGroup, trial: Json) -> str:
    """A sweep file whose plan is this configuration at all its seeds, and the uncompressed model.

    ``sweep`` is the resolved spec of its sweep, ``trial`` the spec of one of its trials. Relative
    paths of models are as in the sweep's own file.
    """
    whole = {name: value for name, value in sweep.items() if name not in (*_AXES, *_LEFT)}
    own = {k: v for k, v in sweep["workloads"][group.workload].items() if k not in _AXES}
    own = {k: v for k, v in own.items() if v is not None}
    content = {
        "name": f"{whole.pop('name')}-{short(group.trials[0])}",
        "seeds": list(group.seeds),
        "keep": [group.keep_ratio],
        "methods": [_named(trial["method"]["id"], json.loads(group.hyperparameters_json))],
        "schedules": [_schedule(trial["schedule"])],
        **{name: value for name, value in whole.items() if value is not None},
        "workloads": {group.workload: own},
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def as_curl(group: SeedGroup, server: str | None) -> str:
    """A request that this configuration answers, to a server that has it in its release."""
    body = {
        "workload": group.workload,
        "configuration": group.trials[0],
        "inputs": {"example": 0},
    }
    return (
        f"curl -s {server or SERVER}/v1/predict -H 'content-type: application/json' "
        f"-d '{json.dumps(body)}'"
    )


def _schedule(spec: Json) -> Any:
    return _named(spec["kind"], {name: value for name, value in spec.items() if name != "kind"})


def _named(name: str, params: Json) -> Any:
    """As sweep files write a name with parameters, each of which is an axis of one value."""
    return {name: {key: _axis(value) for key, value in params.items()}} if params else name


def _axis(value: Any) -> Sequence[Any]:
    return [value]
