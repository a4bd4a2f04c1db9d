"""The Ray Serve application: models, questions, the conductor of releases, and who answers HTTP.

Whoever answers HTTP holds no model; it asks again where the replica it asked has died, because
neither a prediction nor a question changes anything. On one machine that is the process that
started the server (:mod:`orchestrator.serving.server`): a request then takes one way through Ray
Serve. On a cluster it is an ingress deployment, as many replicas as the cluster's file says.
Questions have a process of their own, so that resampling thousands of examples delays no
prediction; so has the conductor, which reads the ledger and writes to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

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
QUIET: Final = {"log_level": "ERROR", "enable_access_log": False}


@dataclass(frozen=True)
class Bound:
    """What is behind whoever answers HTTP: deployments, or handles of those that run."""

    engine: Any
    analyst: Any
    conductor: Any


def bind(release: Release, store_url: str) -> Bound:
    """The deployments that answer for the release's sweep.

    They serve what its ledger says, and ``release`` while that names nothing.
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
    return Bound(engine, analyst, conductor)


def build_app(
    release: Release, store_url: str, keys: Path | None = None, level: ServiceLevel = UNPROMISED
) -> serve.Application:
    """The application that answers HTTP requests, and questions to the release's sweep.

    With ``keys``, a file of API keys, nobody else is let in. ``level`` is promised to whoever's key
    promises nothing else. Raises ValueError as :func:`bind` does.
    """
    bound = bind(release, store_url)
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name=INGRESS,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=256,
        max_surge_percent=100,
    )
    return ingress.bind(bound.engine, bound.analyst, bound.conductor, keys, level)


def run(bound: Bound, name: str) -> Bound:
    """Run the deployments without anybody who answers HTTP; their handles."""
    quiet = {"logging_config": QUIET, "route_prefix": None}
    conductor, analyst = serve.run_many(
        [
            serve.RunTarget(bound.conductor, name, **quiet),
            serve.RunTarget(bound.analyst, f"{name}-{ANALYST}", **quiet),
        ]
    )
    return Bound(serve.get_deployment_handle(ENGINE, name), analyst, conductor)


def answering(
    handles: Bound, keys: Path | None = None, level: ServiceLevel = UNPROMISED
) -> ASGIApp:
    """What answers HTTP requests with the deployments behind ``handles``."""
    engine, analyst = RetryingEngine(handles.engine), RetryingAnalyst(handles.analyst)
    auto = Auto(level)

    def build(served: Served) -> ASGIApp:
        return build_http(served.release, engine, analyst, auto)

    return build_front(build, RetryingConductor(handles.conductor).beat, keys)


class Ingress:
    """:func:`answering` as a deployment."""

    def __init__(
        self, engine: Any, analyst: Any, conductor: Any, keys: Path | None, level: ServiceLevel
    ) -> None:
        self._answering = partial(answering, Bound(engine, analyst, conductor), keys, level)

    # Ray Serve's name for it; called once in the ingress' process.
    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._answering()
