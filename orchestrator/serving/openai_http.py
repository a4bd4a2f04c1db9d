"""OpenAI's endpoints: a point's name, or ``auto`` with a budget, is the model.

Streams hold what the compressed model generates, step by step as it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse

from orchestrator.serving.messages import AsyncEngine, Event, Refusal
from orchestrator.serving.names import Names
from orchestrator.serving.observed import observation
from orchestrator.serving.openai_answers import Answering, ChatShape, Shape, TextShape
from orchestrator.serving.openai_schemas import (
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionRequest,
    ModelCard,
    ModelList,
    OpenAIProblem,
    Request,
)
from orchestrator.serving.points import documented_headers, headers_of
from orchestrator.serving.refusals import InputsError
from orchestrator.serving.router import Routing
from store.releases.release import Release

SSE = "text/event-stream"


class OpenAIEndpoints:
    """One method per path."""

    def __init__(self, release: Release, router: Routing, engine: AsyncEngine) -> None:
        self._release = release
        self._router = router
        self._engine = engine
        self._names: Names | None = None

    def add_to(self, api: FastAPI) -> None:
        """Register the paths."""
        api.add_api_route("/v1/models", self.models, responses=_problems(503))
        api.add_api_route("/v1/models/{name:path}", self.model, responses=_problems(404, 503))
        for path, answer, model in (
            ("/v1/completions", self.completion, Completion),
            ("/v1/chat/completions", self.chat, ChatCompletion),
        ):
            good: dict[str, Any] = {
                "model": model,
                "headers": documented_headers(),
                "content": {SSE: {}},
            }
            api.add_api_route(
                path,
                answer,
                methods=["POST"],
                response_model=None,
                responses={200: good, **_problems(400, 404, 413, 503)},
            )

    async def models(self) -> ModelList:
        """Every point that goes on from prompts, and what its tokens are."""
        return ModelList(data=(await self._known()).cards())

    async def model(self, name: str) -> ModelCard:
        """One of them."""
        return (await self._known()).card(name)

    async def completion(self, request: CompletionRequest) -> Response:
        """Go on from a prompt with the best point within the budget, or a named one."""
        return await self._answer(request, TextShape())

    async def chat(self, request: ChatRequest) -> Response:
        """Answer messages with the best point within the budget, or a named one."""
        return await self._answer(request, ChatShape())

    async def _known(self) -> Names:
        if self._names is None:
            trials = [c.trial for c in self._release.configurations]
            cards = await self._engine.text_cards(trials)
            self._names = Names(self._release, self._router, cards)
        return self._names

    async def _answer(self, request: Request, shape: Shape) -> Response:
        route = (await self._known()).route(request)
        observation().chose(route)
        events = self._engine.complete(route.configuration.trial, request.continuation)
        first = await anext(events)
        if isinstance(first, Refusal):
            raise InputsError(first.reason, first.code)
        answer = Answering(route, shape, _chained(first, events))
        if request.stream:
            usage = request.stream_options is not None and request.stream_options.include_usage
            return StreamingResponse(
                answer.stream(bool(usage)), media_type=SSE, headers=headers_of(route)
            )
        return JSONResponse(await answer.whole(), headers=headers_of(route))


async def _chained(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": OpenAIProblem} for status in sorted({401, 429, *statuses})}
