"""Views of a sweep in MLflow's UI: what their links open ready-made, one for each workload.

MLflow keeps views of an experiment as tags of it: JSON with a name, and the state of the page as
JSON in it. The fields are those of the page's own state in MLflow 3; those it does not know it
leaves alone. The page loads 100 runs at a time, so runs come front by front, the frontier first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from store.frontiers.frontier import Objectives
from store.mirror.mlflow_words import view_key
from store.mirror.sweep_page import RANK

_SECTION: Final = "paretoken"
_COLUMNS: Final = ("family", "method", "keep_ratio", "schedule", "on_frontier")
_PARAMETERS: Final = ("method", "keep_ratio", "schedule")
_FRONT: Final = 100
"""Runs that MLflow loads at first, and that its charts draw."""


def views(sweep: str, objectives: Mapping[str, Objectives], created: datetime) -> Mapping[str, str]:
    """Content of the view of every workload, by its key; the same for the same sweep."""
    moment = round(created.timestamp() * 1000)
    found = {}
    for workload, directions in objectives.items():
        envelope = {
            "name": f"{sweep}: {workload}",
            "createdAt": moment,
            "updatedAt": moment,
            "state": json.dumps(_state(sweep, workload, directions)),
        }
        found[view_key(sweep, workload)] = json.dumps(envelope)
    return found


def _state(sweep: str, workload: str, objectives: Objectives) -> dict[str, Any]:
    tags = {"sweep": sweep, "workload": workload, "kind": "trial"}
    return {
        "searchFilter": " AND ".join(f"tags.{name} = '{value}'" for name, value in tags.items()),
        "orderByKey": f"metrics.`{RANK}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"tags.`{name}`" for name in _COLUMNS),
            *(f"metrics.`{name}`" for name in (*objectives, RANK)),
        ],
        "runsHiddenMode": "SHOW_ALL",
        "runsVisibilityMap": {},
        "compareRunCharts": _charts(objectives),
        "compareRunSections": _sections(),
        "isAccordionReordered": True,  # or MLflow puts its own section first
        "hideEmptyCharts": True,
        "groupBy": None,
        "viewMaximized": False,
        "runListHidden": False,
    }


def _charts(objectives: Objectives) -> list[dict[str, Any]]:
    """Quality against every cost, then all objectives side by side."""
    first, *costs = objectives
    scatters = [
        {
            "type": "SCATTER",
            "xaxis": {"key": cost, "type": "METRIC"},
            "yaxis": {"key": first, "type": "METRIC"},
            "runsCountToCompare": _FRONT,
        }
        for cost in costs
    ]
    parallel = {
        "type": "PARALLEL",
        "selectedParams": list(_PARAMETERS),
        "selectedMetrics": list(objectives),
        "showAllRuns": True,
        "runsCountToCompare": _FRONT,
    }
    return list(_placed([*scatters, parallel]))


def _placed(charts: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for number, chart in enumerate(charts):
        placed = {"uuid": f"{_SECTION}-{number}", "metricSectionId": _SECTION}
        yield chart | placed | {"deleted": False, "isGenerated": False}


def _sections() -> list[dict[str, Any]]:
    """Ours, open, before MLflow's own with a bar chart for every metric, closed."""
    own: dict[str, Any] = {"uuid": _SECTION, "name": "Quality against cost", "display": True}
    theirs: list[dict[str, Any]] = [
        {"uuid": name, "name": name, "display": False}
        for name in ("Model metrics", "System metrics")
    ]
    return [
        {**section, "isReordered": False, "deleted": False, "isGenerated": False}
        for section in (own, *theirs)
    ]
