"""The Ray Serve application: models, questions, the conductor of releases, and a light ingress.

The ingress holds no model and imports no torch; it asks again where the replica it asked has died,
because neither a prediction nor a question changes anything. Questions have a process of their own,
so that resampling thousands of examples delays no prediction; so has the conductor, which reads the
ledger and writes to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from orchestrator.keys import UNPROMISED, ServiceLevel
from orchestrator.serving.auto import Auto
from orchestrator.serving.front import build_front
from orchestrator.serving.http import build_http
from orchestrator.serving.plan import Served
from orchestrator.serving.retrying import RetryingAnalyst, RetryingConductor, RetryingEngine
from orchestrator.serving.shelf import Shelf
from store.releases.release import Release

ENGINE = "engine"
ANALYST = "analyst"
CONDUCTOR = "conductor"
INGRESS = "ingress"


def build_app(
    release: Release, store_url: str, keys: Path | None = None, level: ServiceLevel = UNPROMISED
) -> serve.Application:
    """The application that answers HTTP requests, and questions to the release's sweep.

    It serves what the sweep's ledger says, and ``release`` while that names nothing. With ``keys``,
    a file of API keys, nobody else is let in. ``level`` is promised to whoever's key promises
    nothing else.
    Raises ValueError where code, data or weights are not those that were measured.
    """
    # The ingress' process imports this module and does without torch.
    from orchestrator.serving.analyst import Analyst
    from orchestrator.serving.conducting import ServedConductor
    from orchestrator.serving.engine import MAX_ONGOING
    from orchestrator.serving.following import FollowingEngine
    from orchestrator.serving.gate import require_current

    shelf = Shelf(store_url, release)
    require_current(shelf.plan().active.release)
    engine = serve.deployment(
        FollowingEngine,
        name=ENGINE,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=MAX_ONGOING,
        health_check_period_s=2,
        health_check_timeout_s=6,  # of which Ray Serve waits for three in a row
        max_surge_percent=100,  # a new replica is up before the old one goes
    ).bind(shelf)
    analyst = serve.deployment(
        Analyst, name=ANALYST, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=4
    ).bind(store_url, release.sweep)
    conductor = serve.deployment(
        ServedConductor, name=CONDUCTOR, ray_actor_options={"num_cpus": 0}
    ).bind(shelf, engine)
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name=INGRESS,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=256,
        max_surge_percent=100,
    )
    return ingress.bind(engine, analyst, conductor, keys, level)


class Ingress:
    """Ray Serve's side of :func:`build_front` and :func:`build_http`."""

    def __init__(
        self, engine: Any, analyst: Any, conductor: Any, keys: Path | None, level: ServiceLevel
    ) -> None:
        self._engine = RetryingEngine(engine)
        self._analyst = RetryingAnalyst(analyst)
        self._conductor = RetryingConductor(conductor)
        self._keys = keys
        self._auto = Auto(level)

    # Ray Serve's name for it; called once in the ingress' process.
    def __serve_build_asgi_app__(self) -> ASGIApp:
        def build(served: Served) -> ASGIApp:
            return build_http(served.release, self._engine, self._analyst, self._auto)

        return build_front(build, self._conductor.beat, self._keys)
