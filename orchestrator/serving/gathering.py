"""Puts what waits for a model at the same time into one forward pass.

There is no window to wait in: what has come while the model was busy goes together once it is free,
and a request that is alone goes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


@dataclass(eq=False)
class _Asked(Generic[ItemT, AnswerT]):
    key: Hashable
    item: ItemT
    answer: AnswerT | None = None
    error: Exception | None = None
    is_done: bool = False

    def settle(self, answer: AnswerT | None, error: Exception | None = None) -> None:
        self.answer, self.error, self.is_done = answer, error, True


class Gathering(Generic[ItemT, AnswerT]):
    """What waits for one model; safe from any thread. Oldest first."""

    def __init__(self, turn: threading.Lock) -> None:
        self._turn: Final = turn
        self._changed = threading.Condition()
        self._waiting: list[_Asked[ItemT, AnswerT]] = []
        self._is_led = False

    def answer(
        self,
        key: Hashable,
        item: ItemT,
        together: Callable[[list[ItemT]], Sequence[AnswerT]],
        most: int,
    ) -> AnswerT:
        """The answer to one item, computed with up to ``most`` others that have the same key.

        ``together`` answers items of one key in their order, and is called with the model's turn
        held. Where it raises, each item is answered alone, so that an error stays with whoever
        brought it; raises that.
        """
        asked = _Asked[ItemT, AnswerT](key, item)
        with self._changed:
            self._waiting.append(asked)
            self._changed.wait_for(lambda: asked.is_done or self._leads(asked))
            self._is_led = self._is_led or not asked.is_done
        if not asked.is_done:
            self._lead(key, together, most)
        if asked.error is not None:
            raise asked.error
        assert asked.is_done
        return asked.answer  # type: ignore[return-value]  # AnswerT may itself be optional

    def _leads(self, asked: _Asked[ItemT, AnswerT]) -> bool:
        return not self._is_led and self._waiting[0] is asked

    def _lead(
        self, key: Hashable, together: Callable[[list[ItemT]], Sequence[AnswerT]], most: int
    ) -> None:
        taken: list[_Asked[ItemT, AnswerT]] = []
        try:
            with self._turn:
                with self._changed:
                    taken = [asked for asked in self._waiting if asked.key == key][:most]
                    self._waiting = [asked for asked in self._waiting if asked not in taken]
                _settle(taken, together)
        finally:
            with self._changed:
                self._is_led = False
                self._changed.notify_all()


def _settle(
    taken: Sequence[_Asked[ItemT, AnswerT]],
    together: Callable[[list[ItemT]], Sequence[AnswerT]],
) -> None:
    try:
        answers = together([asked.item for asked in taken])
    except Exception as error:
        if len(taken) == 1:
            taken[0].settle(None, error)
            return
        for asked in taken:
            _settle([asked], together)
    else:
        for asked, answer in zip(taken, answers, strict=True):
            asked.settle(answer)
