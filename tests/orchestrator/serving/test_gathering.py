"""What waits at one time is answered at once, in order; nobody pays for another one's error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from orchestrator.serving.gathering import Gathering


class Model:
    """Squares numbers, except 13, and notes what comes together."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.gathering = Gathering[int, int](self.turn)
        self.passes: list[list[int]] = []

    def squares(self, numbers: list[int]) -> list[int]:
        assert self.turn.locked()
        if 13 in numbers:
            raise ValueError("13")
        self.passes.append(numbers)
        return [number**2 for number in numbers]

    def ask(self, number: int, most: int = 4) -> int:
        return self.gathering.answer(number % 2, number, self.squares, most)

    def asked_while_busy(self, numbers: list[int], most: int = 4) -> list[Future[int]]:
        with ThreadPoolExecutor(len(numbers)) as threads, self.turn:
            return [self._waiting(threads.submit, number, most) for number in numbers]

    def _waiting(self, submit: Callable[..., Future[int]], number: int, most: int) -> Future[int]:
        before = len(self.gathering._waiting)
        future = submit(self.ask, number, most)
        while len(self.gathering._waiting) == before:
            time.sleep(0.001)
        return future


def test_what_waits_goes_together_oldest_first_and_of_one_kind() -> None:
    model = Model()
    answers = model.asked_while_busy([2, 3, 4, 6, 5, 8, 10])
    assert [answer.result() for answer in answers] == [4, 9, 16, 36, 25, 64, 100]
    assert model.passes == [[2, 4, 6, 8], [3, 5], [10]]


def test_who_is_alone_waits_for_nobody() -> None:
    model = Model()
    assert [model.ask(number) for number in (2, 4, 3)] == [4, 16, 9]
    assert model.passes == [[2], [4], [3]]


def test_an_error_stays_with_whoever_brought_it() -> None:
    model = Model()
    good, bad, also_good = model.asked_while_busy([3, 13, 5])
    assert (good.result(), also_good.result()) == (9, 25)
    with pytest.raises(ValueError, match="13"):
        bad.result()
    assert model.ask(7) == 49
