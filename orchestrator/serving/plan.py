"""What a running server serves at this moment; plain data that travels between its processes."""

from __future__ import annotations

from dataclasses import dataclass

from store.releases.line import Terms
from store.releases.release import Release

UNRELEASED = 0
"""The number of a frontier that is served without having been released."""


@dataclass(frozen=True)
class Served:
    """A release that is loaded."""

    number: int
    release: Release
    exact: tuple[str, ...] = ()
    """Workloads whose examples are answered right or wrong, with nothing between."""

    @property
    def name(self) -> str:
        """``SWEEP@NUMBER``, or the sweep where it was not released."""
        return self.release.sweep + (f"@{self.number}" if self.number else "")


@dataclass(frozen=True)
class Canary:
    """A release that gets a share of the requests until it is judged."""

    served: Served
    terms: Terms


@dataclass(frozen=True)
class Plan:
    """Who gets the requests."""

    sequence: int
    """Of the ledger's step that led here."""
    active: Served
    canary: Canary | None = None
    previous: Served | None = None

    @property
    def loaded(self) -> tuple[Served, ...]:
        """Everything that is kept loaded, what is needed most first."""
        canary = None if self.canary is None else self.canary.served
        return tuple(each for each in (self.active, self.previous, canary) if each is not None)

    @property
    def loaded_numbers(self) -> tuple[int, ...]:
        """Of everything that is kept loaded."""
        return tuple(served.number for served in self.loaded)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of what gets requests: the active release, then the canary."""
        canary = () if self.canary is None else (self.canary.served.number,)
        return (self.active.number, *canary)

    @property
    def shares(self) -> tuple[tuple[Served, float], ...]:
        """What each loaded release gets of the requests that name none."""
        tried = 0.0 if self.canary is None else self.canary.terms.share
        given = {self.active.number: 1 - tried}
        if self.canary is not None:
            given[self.canary.served.number] = tried
        return tuple((served, given.get(served.number, 0.0)) for served in self.loaded)
