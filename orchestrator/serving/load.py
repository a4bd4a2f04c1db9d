"""How much work is under way in a server, and how long each point takes here and now.

What a point takes is measured, in the server's own traffic, as its share of the time in which the
models were busy: from the answer before it, or from its own start where nothing was under way, to
its own answer. Waiting is no part of it, and answers that shared a forward pass share its time, so
that the sum over everything under way is when the last of it will be answered.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final

from orchestrator.serving.messages import (
    Answer,
    AsyncEngine,
    Continuation,
    Ending,
    Event,
    Refusal,
    TextCard,
)
from store.releases.release import Configuration, Release

_RECENT: Final = 50
"""Answers over which the server's own slowness is averaged; older ones fade."""
_MANY: Final = 200
"""The same for what points take beside each other, which does not change with the load."""
_UNTIMED_SECONDS: Final = 0.01
"""What the uncompressed model is taken to need where its latency was not measured."""


@dataclass
class _Pace:
    """What one point takes on an undisturbed server."""

    measured: float
    """By the trial that measured the point."""
    seconds: float
    answers: int = 0

    @classmethod
    def of(cls, configuration: Configuration) -> _Pace:
        """As its trial measured it, for one example."""
        measured, seconds = configuration.measured, _UNTIMED_SECONDS * configuration.measured.flops
        if measured.latency is not None and measured.baseline_seconds is not None:
            seconds = measured.latency * measured.baseline_seconds
        return cls(seconds, seconds)

    def note(self, seconds: float) -> None:
        """Of one answer; what the trial measured counts as one, too."""
        self.answers += 1
        self.seconds += (seconds - self.seconds) / min(self.answers + 1, _MANY)


@dataclass
class Load:
    """Of one server. For one thread, or one event loop."""

    clock: Callable[[], float] = time.monotonic
    _paces: dict[str, _Pace] = field(default_factory=dict)
    _under_way: Counter[str] = field(default_factory=Counter)
    _last_answer: float = -math.inf
    _slowness: float = 1.0
    """What answers take at the moment, over what they usually take."""

    def know(self, release: Release) -> None:
        """A release is served, perhaps besides others."""
        for configuration in release.configurations:
            self._paces.setdefault(configuration.trial, _Pace.of(configuration))

    def begin(self, trial: str) -> float:
        """A request starts; returns when, for :meth:`end`."""
        self._under_way[trial] += 1
        return self.clock()

    def end(self, trial: str, started: float, is_answered: bool = True) -> None:
        """It is over; what was not answered says nothing about how long answers take."""
        self._under_way[trial] -= 1
        if is_answered:
            now = self.clock()
            self._note(self._paces[trial], now - max(started, self._last_answer))
            self._last_answer = now

    @property
    def backlog(self) -> float:
        """Seconds until everything that is under way is answered."""
        return sum(count * self.seconds(trial) for trial, count in self._under_way.items())

    def seconds(self, trial: str) -> float:
        """What one answer takes at the moment."""
        return self._slowness * self.usual_seconds(trial)

    def usual_seconds(self, trial: str) -> float:
        """What it takes beside other points, whatever the moment.

        Of points not asked yet, by those that were.
        """
        pace = self._paces[trial]
        if pace.answers:
            return pace.seconds
        # a copy: a release may come meanwhile
        asked = [p.seconds / p.measured for p in list(self._paces.values()) if p.answers]
        return pace.measured * (fmean(asked) if asked else 1.0)

    def _note(self, pace: _Pace, seconds: float) -> None:
        """A moment's slowness is that of all points: those not asked now are slower, too."""
        self._slowness += (seconds / pace.seconds - self._slowness) / _RECENT
        pace.note(seconds / self._slowness)


class Loaded:
    """An engine whose load is known."""

    def __init__(self, engine: AsyncEngine, load: Load) -> None:
        self._engine = engine
        self._load = load

    async def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """Answer one example. Raises UnavailableError."""
        started, answer = self._load.begin(trial), None
        try:
            answer = await self._engine.predict(trial, inputs)
            return answer
        finally:
            self._load.end(trial, started, isinstance(answer, Answer))

    async def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """Pieces, then an ending; or a refusal. Raises UnavailableError."""
        started, is_over = self._load.begin(trial), False
        try:
            async with aclosing(self._engine.complete(trial, continuation)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, Ending):  # whoever reads slowly is not waited for
                        is_over = True
                        self._load.end(trial, started)
                    yield event
        finally:
            if not is_over:
                self._load.end(trial, started, is_answered=False)

    async def probe(self) -> int:
        """Run every model once; returns their number. Raises UnavailableError."""
        return await self._engine.probe()

    async def text_cards(self, trials: Sequence[str]) -> Mapping[str, TextCard]:
        """Of the trials whose models go on from prompts. Raises UnavailableError."""
        return await self._engine.text_cards(trials)
