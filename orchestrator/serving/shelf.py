"""Where a running server reads what it is to serve: the ledger of its sweep."""

from __future__ import annotations

import logging
from functools import cached_property
from itertools import chain
from typing import Any

from orchestrator.serving.plan import UNRELEASED, Canary, Plan, Served
from store.releases.ledger import Ledger
from store.releases.line import Entry, Step, line_of
from store.releases.release import Release

_LOG = logging.getLogger("paretoken.serving")


class Shelf:
    """The releases of a sweep, and a frontier that is served while none is active."""

    def __init__(self, store_url: str, unreleased: Release) -> None:
        self._url = store_url
        self._unreleased = unreleased
        self._served: dict[int, Served] = {}

    def __reduce__(self) -> tuple[type[Shelf], tuple[str, Release]]:
        """Travels without its connections."""
        return Shelf, (self._url, self._unreleased)

    @property
    def sweep(self) -> str:
        """Whose releases."""
        return self._unreleased.sweep

    @cached_property
    def ledger(self) -> Ledger:
        """The sweep's."""
        return Ledger(self._url)

    def plan(self) -> Plan:
        """What the ledger says is to be served."""
        entries = self.ledger.entries(self.sweep)
        line = line_of(entries)
        active = Served(UNRELEASED, self._unreleased)
        if line.active is not None:
            active = self._taken(line.active, entries)
        canary = None
        if line.canary is not None:
            canary = Canary(self._taken(line.canary.number, entries), line.canary.terms)
        previous = None if line.previous is None else self._taken(line.previous, entries)
        return Plan(line.sequence, active, canary, previous)

    def having(self, trial: str) -> Release | None:
        """The newest release with this configuration, whether it is served or not.

        The frontier that was not released counts as the oldest.
        """
        numbers = range(self.ledger.newest(self.sweep) or 0, 0, -1)
        released = (self.ledger.release(self.sweep, number).release for number in numbers)
        for release in chain(released, [self._unreleased]):
            if any(c.trial == trial for c in release.configurations):
                return release
        return None

    def reflect(self) -> None:
        """Let MLflow's registry show what the ledger says, if it knows the sweep's releases.

        Whatever goes wrong is logged: the next step makes it good.
        """
        try:
            if any(e.step is Step.REGISTERED for e in self.ledger.entries(self.sweep)):
                from store.mirror.registry import Registry  # takes MLflow

                Registry(self._url).reflect(self.sweep, self.ledger.line(self.sweep))
        except Exception:
            _LOG.exception("the registry was not told")

    def golden(self, number: int) -> dict[str, Any]:
        """Of every trial of a release, the answer that it gave at the gate to example 0."""
        return dict(_passed(number, self.ledger.entries(self.sweep)).evidence["golden"])

    def _taken(self, number: int, entries: list[Entry]) -> Served:
        if number not in self._served:  # releases never change
            frozen = self.ledger.release(self.sweep, number)
            exact = tuple(_passed(number, entries).evidence["exact"])
            self._served[number] = Served(number, frozen.release, exact)
        return self._served[number]


def _passed(number: int, entries: list[Entry]) -> Entry:
    """The last time that a release passed its gate; nothing else is ever served."""
    return next(e for e in reversed(entries) if e.number == number and e.step is Step.PASSED)
