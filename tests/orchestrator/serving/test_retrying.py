"""A dead replica's requests are asked again, for a while that begins with the failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ray.exceptions import RayActorError

from orchestrator.serving import retrying
from orchestrator.serving.messages import Continuation, Piece, UnavailableError
from orchestrator.serving.retrying import RetryingEngine

PIECES = [Piece(word) for word in "abcdef"]
BUSY_SECONDS = 0.3
"""Longer than requests are patient here."""


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 0.2)


class Stream:
    """Some pieces, and then the end or the replica's."""

    def __init__(self, count: int) -> None:
        self._pieces = self._run(count)

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self._pieces

    async def _run(self, count: int) -> AsyncIterator[Piece]:
        for piece in PIECES[:count]:
            yield piece
        if count < len(PIECES):
            await asyncio.sleep(BUSY_SECONDS)
            raise RayActorError

    def cancel(self) -> None:
        """Nothing runs."""


class Dying:
    """A handle whose replicas say so many pieces each; the last goes on like the one before."""

    def __init__(self, *counts: int) -> None:
        self.counts, self.calls = counts, 0
        self.complete = self.probe = self

    def options(self, **_: Any) -> Dying:
        return self

    def remote(self, *arguments: Any) -> Any:
        count = self.counts[min(self.calls, len(self.counts) - 1)]
        self.calls += 1
        return Stream(count) if arguments else self._probed(count)

    async def _probed(self, count: int) -> int:
        async for _ in Stream(count):
            pass
        return count


async def completed(handle: Dying) -> list[Any]:
    engine = RetryingEngine(handle)
    return [event async for event in engine.complete("t", Continuation("x", 5))]


def test_a_long_answer_survives_replicas_that_die_late() -> None:
    assert asyncio.run(completed(Dying(2, 4, 6))) == PIECES


def test_a_long_question_is_asked_again() -> None:
    assert asyncio.run(RetryingEngine(Dying(2, 6)).probe()) == 6


def test_an_answer_that_comes_no_further_is_given_up() -> None:
    handle = Dying(2)
    with pytest.raises(UnavailableError):
        asyncio.run(completed(handle))
    assert handle.calls == 2
    with pytest.raises(UnavailableError):
        asyncio.run(RetryingEngine(Dying(2)).probe())
