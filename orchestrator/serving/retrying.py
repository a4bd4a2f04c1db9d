"""What is behind Ray Serve's handles, asked again where the replica that was asked has died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import RayServeException

from orchestrator.serving.messages import (
    Answer,
    Continuation,
    Event,
    Refusal,
    TextCard,
    UnavailableError,
)
from orchestrator.serving.plan import Plan
from orchestrator.serving.tally import Tally
from store.questions.asked import Question
from store.releases.release import Release

PATIENCE_SECONDS: Final = 60.0
"""How long a request waits, from its failure on, for a replica in the place of a dead one."""
_PAUSE_SECONDS: Final = 0.1


class _Retrying:
    """A handle, whose requests change nothing and may be repeated."""

    unavailable = "nobody answers; try again later"

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def _ask(self, method: str, *arguments: Any) -> Any:
        deadline: float | None = None
        while True:
            try:
                return await getattr(self._handle, method).remote(*arguments)
            except (RayTaskError, TaskCancelledError):
                raise  # it was answered: with an error of its own
            except (RayError, RayServeException) as error:
                deadline = deadline or time.monotonic() + PATIENCE_SECONDS
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

    async def hold(self, releases: list[Release]) -> dict[str, str]:
        """Load releases; by trial, why one does not answer. Raises UnavailableError."""
        problems: dict[str, str] = await self._ask("hold", releases)
        return problems

    async def text_cards(self, trials: Sequence[str]) -> dict[str, TextCard]:
        """Of the models that go on from prompts. Raises UnavailableError."""
        cards: dict[str, TextCard] = await self._ask("text_cards", list(trials))
        return cards

    async def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """The events of an answer, each once. Raises UnavailableError.

        A replica that takes the place of a dead one starts the answer anew: equal requests get
        equal events, so that those that were handed on already are left out.
        """
        deadline: float | None = None
        given = 0
        while True:
            stream = self._handle.options(stream=True).complete.remote(trial, continuation)
            number = 0
            try:
                async for event in stream:
                    number += 1
                    if number > given:
                        given, deadline = number, None
                        yield event
                return
            except (RayTaskError, TaskCancelledError):
                raise  # it was answered: with an error of its own
            except (RayError, RayServeException) as error:
                deadline = deadline or time.monotonic() + PATIENCE_SECONDS
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


class RetryingConductor(_Retrying):
    """Who says what is served."""

    unavailable = "nobody says what is to be served"

    async def beat(self, known: int | None, tallies: Mapping[int, Tally]) -> Plan | None:
        """Tell what was seen, ask for the plan. Raises UnavailableError."""
        plan: Plan | None = await self._ask("beat", known, tallies)
        return plan
