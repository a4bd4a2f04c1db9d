"""Which timing goes to which worker next; knows nothing of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from orchestrator.engine.dispatch import Affinity, affinity
from sweeps.timing import TimingSpec


class Place(Protocol):
    """A worker, as far as timing goes."""

    @property
    def devices(self) -> frozenset[str]:
        """What it computes on."""
        ...

    @property
    def held(self) -> Affinity | None:
        """What it has loaded."""
        ...


PlaceT = TypeVar("PlaceT", bound=Place)


class Lane:
    """Timings that wait for a device of their own, in the order given, gathered by model and data.

    Equal specs are one timing. ``claim`` is asked when a timing's turn has come, whether it is ours
    to take; those that are not leave the lane.
    """

    def __init__(
        self,
        specs: Iterable[TimingSpec] = (),
        claim: Callable[[TimingSpec], bool] = lambda _: True,
    ) -> None:
        self._claim = claim
        self._waiting: dict[Affinity, deque[TimingSpec]] = {}
        self.put_back({spec.id: spec for spec in specs}.values())

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put_back(self, specs: Iterable[TimingSpec]) -> None:
        """Return timings that were taken but did not end."""
        for spec in specs:
            self._waiting.setdefault(affinity(spec.trial), deque()).append(spec)

    def assign(
        self, idle: Sequence[PlaceT], working: frozenset[str]
    ) -> list[tuple[PlaceT, TimingSpec]]:
        """Timings for idle workers, removed from the lane; no two of them share a device.

        ``working`` are devices on which anything runs. A worker that has the model of a waiting
        timing loaded comes before others of its device, and gets that timing.
        """
        given: list[tuple[PlaceT, TimingSpec]] = []
        for place in sorted(idle, key=lambda place: place.held not in self._waiting):
            spec = None if place.devices & working else self._take(place.held)
            if spec is not None:
                given.append((place, spec))
                working |= place.devices
        return given

    def _take(self, held: Affinity | None) -> TimingSpec | None:
        while self._waiting:
            spec = self._next(held)
            if self._claim(spec):
                return spec
        return None

    def _next(self, held: Affinity | None) -> TimingSpec:
        key = held if held in self._waiting else next(iter(self._waiting))
        spec = self._waiting[key].popleft()
        if not self._waiting[key]:
            del self._waiting[key]
        return spec
