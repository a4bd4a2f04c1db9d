"""The engine of a server that follows a ledger: releases come and go while it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from orchestrator.serving.engine import Engine
from orchestrator.serving.messages import Answer, Continuation, Event, Refusal, TextCard
from orchestrator.serving.shelf import Shelf
from store.releases.release import Release


class FollowingEngine(Engine):
    """Holds every release of the plan.

    A release shares models, and configurations, with the others: one more costs what is new in it.
    A replica that does not know a configuration, because another one was told of it, reads the
    ledger itself.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._holding = threading.Lock()
        plan = shelf.plan()
        super().__init__(plan.active.release)
        self._hold([served.release for served in plan.loaded])

    async def hold(self, releases: list[Release]) -> dict[str, str]:
        """Load these and let go of all others; by trial, why one does not answer."""
        return await asyncio.to_thread(self._hold, releases)

    def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """The task's answer to one example, or why these inputs have none."""
        self._look_for(trial)
        return super().predict(trial, inputs)

    async def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """Go on from a prompt: pieces as they are generated, then an ending; or a refusal."""
        await asyncio.to_thread(self._look_for, trial)
        async for event in super().complete(trial, continuation):
            yield event

    def text_cards(self, trials: Sequence[str]) -> dict[str, TextCard]:
        """How the models that go on from prompts read and write text, by trial."""
        for trial in trials:
            self._look_for(trial)
        return super().text_cards(trials)

    def _look_for(self, trial: str) -> None:
        """Another replica was told of it, or this one started when it was on its way out."""
        if trial not in self._variants and (release := self._shelf.having(trial)) is not None:
            served = [each.release for each in self._shelf.plan().loaded]
            self._hold([*served, release])

    def _hold(self, releases: Iterable[Release]) -> dict[str, str]:
        specs = {c.trial: c.spec for release in releases for c in release.configurations}
        problems = {}
        with self._holding:
            held = {trial: v for trial, v in self._variants.items() if trial in specs}
            for trial, spec in specs.items():
                try:
                    held[trial] = held.get(trial) or self._ready(spec)
                except Exception as error:  # whatever it raises, this one is not served
                    problems[trial] = str(error)
            self._variants = held  # one assignment: requests see the old ones or the new ones
            used = {id(variant.loaded) for variant in held.values()}
            self._loaded = {key: m for key, m in self._loaded.items() if id(m) in used}
        return problems
