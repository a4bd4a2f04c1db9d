"""Names of points, and what every answer's headers say of the point that gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from orchestrator.serving.router import Route
from store.releases.release import Configuration, Workload

CONFIGURATION_HEADER: Final = "x-paretoken-configuration"
POINT_HEADER: Final = "x-paretoken-point"
COST_HEADER: Final = "x-paretoken-cost"
QUALITY_HEADER: Final = "x-paretoken-expected-quality"
RELEASE_HEADER: Final = "x-paretoken-release"
AUTO: Final = "auto"

_MEANING: Final = {
    RELEASE_HEADER: "Sweep and number of the release that answered; a request may name one, too.",
    CONFIGURATION_HEADER: "Trial id of the configuration that answered.",
    POINT_HEADER: "Workload and trial id, as `/v1/models` lists them.",
    COST_HEADER: "Its measured costs among the workload's objectives: `flops=0.41`.",
    QUALITY_HEADER: "Its measured quality.",
}


def point_name(workload: Workload, configuration: Configuration) -> str:
    """As a request may name it."""
    return f"{workload.name}/{configuration.trial}"


def headers_of(route: Route) -> dict[str, str]:
    """Who answers, at what measured cost and quality."""
    workload, configuration = route.workload, route.configuration
    costs = {name: configuration.cost(name) for name in workload.costs}
    known = [f"{name}={cost:.6g}" for name, cost in costs.items() if cost is not None]
    return {
        CONFIGURATION_HEADER: configuration.trial,
        POINT_HEADER: quote(point_name(workload, configuration), safe="/"),
        COST_HEADER: ", ".join(known),
        QUALITY_HEADER: f"{configuration.quality:.6g}",
    }


def documented_headers() -> Mapping[str, Any]:
    """The headers, for the OpenAPI page."""
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _MEANING.items()
    }
