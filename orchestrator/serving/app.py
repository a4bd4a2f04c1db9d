"""The Ray Serve application: one deployment for the models, one for questions, a light ingress.

The ingress holds no model and imports no torch; it asks again where the replica it asked has died,
because neither a prediction nor a question changes anything. Questions have a process of their own,
so that resampling thousands of examples delays no prediction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException

from orchestrator.serving.http import build_http
from orchestrator.serving.messages import (
    Answer,
    Continuation,
    Event,
    Refusal,
    TextCard,
    UnavailableError,
)
from orchestrator.serving.release import Release
from store.questions.asked import Question

ENGINE = "engine"
ANALYST = "analyst"
INGRESS = "ingress"
PATIENCE_SECONDS = 60.0
"""How long a request waits for a replica that takes the place of a dead one."""
_PAUSE_SECONDS = 0.1


def build_app(release: Release, store_url: str, keys: Path | None = None) -> serve.Application:
    """The application that answers HTTP requests for ``release``, and questions to its sweep.

    With ``keys``, a file of API keys, nobody else is let in.
    Raises ValueError where code, data or weights are not those that were measured.
    """
    # The ingress' process imports this module and does without torch.
    from orchestrator.serving.analyst import Analyst
    from orchestrator.serving.engine import MAX_ONGOING, Engine
    from orchestrator.serving.gate import require_current

    require_current(release)
    engine = serve.deployment(
        Engine,
        name=ENGINE,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=MAX_ONGOING,
        health_check_period_s=5,
        health_check_timeout_s=30,
        max_surge_percent=100,  # a new replica is up before the old one goes
    ).bind(release)
    analyst = serve.deployment(
        Analyst, name=ANALYST, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=4
    ).bind(store_url, release.sweep)
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name=INGRESS,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=256,
        max_surge_percent=100,
    )
    return ingress.bind(release, engine, analyst, keys)


class Ingress:
    """Ray Serve's side of :func:`build_http`."""

    def __init__(self, release: Release, engine: Any, analyst: Any, keys: Path | None) -> None:
        self._release = release
        self._keys = keys
        self._engine = RetryingEngine(engine)
        self._analyst = RetryingAnalyst(analyst)

    # Ray Serve's name for it; called once in the ingress' process.
    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_http(self._release, self._engine, self._analyst, self._keys)


class _Retrying:
    """What is behind a Ray Serve handle, asked again for as long as its replicas die."""

    unavailable = "nobody answers; try again later"

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def _ask(self, method: str, *arguments: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await getattr(self._handle, method).remote(*arguments)
            except (RayActorError, RayServeException) as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(self.unavailable) from error
            await asyncio.sleep(_PAUSE_SECONDS)


class RetryingEngine(_Retrying):
    """The models."""

    unavailable = "the models do not answer; try again later"

    async def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """Answer one example. Raises UnavailableError after :data:`PATIENCE_SECONDS`."""
        answer: Answer | Refusal = await self._ask("predict", trial, inputs)
        return answer

    async def probe(self) -> int:
        """Run every model once. Raises UnavailableError after :data:`PATIENCE_SECONDS`."""
        backbones: int = await self._ask("probe")
        return backbones

    async def text_cards(self) -> dict[str, TextCard]:
        """Of the models that go on from prompts. Raises UnavailableError."""
        cards: dict[str, TextCard] = await self._ask("text_cards")
        return cards

    async def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """The events of an answer, each once. Raises UnavailableError.

        A replica that takes the place of a dead one starts the answer anew: equal requests get
        equal events, so that those that were handed on already are left out.
        """
        deadline, given = time.monotonic() + PATIENCE_SECONDS, 0
        while True:
            stream = self._handle.options(stream=True).complete.remote(trial, continuation)
            number = 0
            try:
                async for event in stream:
                    number += 1
                    if number > given:
                        given = number
                        yield event
                return
            except (RayActorError, RayServeException) as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(self.unavailable) from error
            finally:
                stream.cancel()  # who stops listening stops the model
            await asyncio.sleep(_PAUSE_SECONDS)


class RetryingAnalyst(_Retrying):
    """Who answers questions."""

    unavailable = "questions are not answered at the moment; try again later"

    async def ask(self, question: Question) -> list[dict[str, Any]] | Refusal:
        """Answers by workload. Raises UnavailableError after :data:`PATIENCE_SECONDS`."""
        answers: list[dict[str, Any]] | Refusal = await self._ask("ask", question)
        return answers
