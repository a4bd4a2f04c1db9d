"""The HTTP side: reads requests, asks the router, asks the engine, writes answers.

A plain FastAPI application that needs no Ray; every refusal is a ``Problem`` with one sentence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Response

from orchestrator.serving.auto import Auto, AutoRouter
from orchestrator.serving.load import Loaded
from orchestrator.serving.messages import AsyncAnalyst, AsyncEngine, Refusal
from orchestrator.serving.observed import observation
from orchestrator.serving.openai_http import OpenAIEndpoints
from orchestrator.serving.points import documented_headers, headers_of
from orchestrator.serving.refusals import HANDLERS, MAX_BODY_BYTES, BodyLimit, InputsError
from orchestrator.serving.router import Router, Routing, Wish
from orchestrator.serving.schemas import (
    Answers,
    ConfigurationCard,
    Frontier,
    FrontierQuery,
    FrontierWorkload,
    Health,
    Prediction,
    PredictRequest,
    Problem,
)
from store.questions.asked import Question
from store.releases.release import Release, Workload

HEALTH_SECONDS = 1.0
"""For so long an answer about health is good."""
MAX_RESAMPLES = 5_000
"""More take minutes; the command line has no such limit."""


def build_http(
    release: Release, engine: AsyncEngine, analyst: AsyncAnalyst, auto: Auto | None = None
) -> FastAPI:
    """The application that answers for ``release`` with ``engine``, and questions to its sweep.

    ``auto`` is what it shares with the other releases of one engine.
    """
    auto = auto or Auto()
    auto.load.know(release)
    router, loaded = AutoRouter(Router(release), auto), Loaded(engine, auto.load)
    api = FastAPI(
        title="Paretoken",
        description=f"The Pareto frontier of sweep `{release.sweep}`, chosen by budget.",
        version="1",
        redirect_slashes=False,
    )
    endpoints = Endpoints(release, router, loaded, analyst)
    api.add_api_route("/healthz", endpoints.health, responses=_problems(503))
    api.add_api_route("/v1/frontier", endpoints.frontier, responses=_problems(404, 422))
    api.add_api_route(
        "/v1/predict",
        endpoints.predict,
        methods=["POST"],
        responses={200: {"headers": documented_headers()}, **_problems(400, 404, 413, 422, 503)},
        openapi_extra=_examples(release.workloads),
    )
    api.add_api_route(
        "/v1/questions",
        endpoints.questions,
        methods=["POST"],
        responses=_problems(400, 404, 413, 422, 503),
    )
    OpenAIEndpoints(release, router, loaded).add_to(api)
    api.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    for error, handler in HANDLERS.items():
        api.add_exception_handler(error, handler)
    return api


_ASK: dict[str, Any] = {
    "best quality under 0.4x FLOPs": {"value": {"ask": "best", "maximum": {"flops": 0.4}}},
    "cheapest within 1 % of the baseline": {
        "value": {"ask": "best", "of": "flops", "within": "1%"}
    },
    "how sure is the frontier": {"value": {"ask": "frontier"}},
}


class Endpoints:
    """One method per path."""

    def __init__(
        self, release: Release, router: Routing, engine: AsyncEngine, analyst: AsyncAnalyst
    ) -> None:
        self._release = release
        self._router = router
        self._engine = engine
        self._analyst = analyst
        self._asking = asyncio.Lock()
        self._health: tuple[float, int] | None = None

    async def health(self) -> Health:
        """Whether every model answers an example of its task right now."""
        backbones = await self._backbones()
        return Health(
            sweep=self._release.sweep,
            workloads=[w.name for w in self._release.workloads],
            configurations=len(self._release.configurations),
            backbones=backbones,
        )

    async def _backbones(self) -> int:
        """Models that answer; asked once a second at most, for anybody may ask for health."""
        async with self._asking:
            if self._health is None or time.monotonic() - self._health[0] > HEALTH_SECONDS:
                self._health = None
                self._health = time.monotonic(), await self._engine.probe()
            return self._health[1]

    async def frontier(self, query: Annotated[FrontierQuery, Query()]) -> Frontier:
        """The configurations that can be chosen, with their measured numbers."""
        workloads = self._router.workloads(query.workload)
        return Frontier(
            sweep=self._release.sweep, workloads=[FrontierWorkload.of(w) for w in workloads]
        )

    async def predict(self, request: PredictRequest, response: Response) -> Prediction:
        """Answer one example with the best configuration within the budget.

        With `max_cost` the best quality that fits; with `min_quality` alone, the cheapest that
        reaches it; with `configuration`, exactly that one. With none of them the best quality, or
        the best that the server can answer within the latency that it promises.
        """
        route = self._router.route(
            Wish(request.workload, request.configuration, request.max_cost, request.min_quality)
        )
        seen = observation()
        seen.chose(route)
        configuration = route.configuration
        answer = await self._engine.predict(configuration.trial, request.inputs)
        if isinstance(answer, Refusal):
            raise InputsError(answer.reason)
        seen.tokens_kept = answer.tokens_kept
        seen.tokens_in = answer.tokens_kept / configuration.measured.tokens
        response.headers.update(headers_of(route))
        return Prediction(
            workload=route.workload.name,
            output=answer.output,
            configuration=ConfigurationCard.of(configuration),
            measured=configuration.measured,
            seconds=answer.seconds,
        )

    async def questions(
        self, question: Annotated[Question, Body(openapi_examples=_ASK)]
    ) -> Answers:
        """Ask the sweep: best within limits, frontier with probabilities, knee, rank ...

        The answers are those of `paretoken best --json` and its sisters, from all that is measured
        by now, whether it is served or not.
        """
        self._router.workloads(question.workload)
        if question.bootstrap.resamples > MAX_RESAMPLES:
            raise InputsError(f"bootstrap.resamples: over HTTP at most {MAX_RESAMPLES}")
        answers = await self._analyst.ask(question)
        if isinstance(answers, Refusal):
            raise InputsError(answers.reason)
        return Answers(sweep=self._release.sweep, ask=question.ask, answers=answers)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        401: "No API key, or none that is known; only where keys are required.",
        400: "The body is not readable.",
        404: "A name that is not served; the answer says the nearest.",
        413: f"The body has more than {MAX_BODY_BYTES} bytes.",
        422: "The request cannot be answered; the answer says why, and what could be.",
        429: "The tenant's requests of this minute are used up.",
        503: "No model answers at the moment.",
    }
    stated = sorted({401, 429, *statuses})
    return {status: {"model": Problem, "description": texts[status]} for status in stated}


def _examples(workloads: Sequence[Workload]) -> dict[str, Any]:
    """Requests that work, one per workload, for the OpenAPI page."""
    examples = {w.name: {"value": _example(w)} for w in workloads}
    return {"requestBody": {"content": {"application/json": {"examples": examples}}}}


def _example(workload: Workload) -> dict[str, Any]:
    request: dict[str, Any] = {"workload": workload.name, "inputs": {"example": 7}}
    costs = [c.cost(workload.first_cost) for c in workload.configurations if workload.first_cost]
    known = sorted(cost for cost in costs if cost is not None)
    if known and known[len(known) // 2] > 0:
        request["max_cost"] = known[len(known) // 2]
    return request
