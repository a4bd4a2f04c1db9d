"""The engine of a server that follows a ledger: releases come and go while it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from orchestrator.serving.engine import Engine
from orchestrator.serving.shelf import Shelf
from orchestrator.serving.variants import Variant
from store.releases.release import Release


class FollowingEngine(Engine):
    """Holds every release of the plan.

    A release shares models, and configurations, with the others: one more costs what is new in it.
    A replica that does not know a configuration, because another one was told of it, reads the
    ledger itself.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._holding = threading.RLock()
        plan = shelf.plan()
        super().__init__(plan.active.release)
        self._hold([served.release for served in plan.loaded])

    async def hold(self, releases: list[Release]) -> dict[str, str]:
        """Load these and let go of all others; by trial, why one does not answer."""
        return await asyncio.to_thread(self._hold, releases)

    def _variant(self, trial: str) -> Variant:
        """The configuration of a trial. Raises KeyError where no release that works has it.

        If it is not here, another replica was told of it, or this one started when it was on its
        way out.
        """
        if (known := self._variants.get(trial)) is not None:
            return known
        with self._holding:  # until it is taken: who looks for another lets go of it
            if trial not in self._variants and (release := self._shelf.having(trial)) is not None:
                self._hold([*(each.release for each in self._shelf.plan().loaded), release])
            return self._variants[trial]

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
