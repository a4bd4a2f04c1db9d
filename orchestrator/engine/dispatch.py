"""Which trial goes to which worker next; knows nothing of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sweeps.trial import TrialSpec

Affinity = tuple[str, ...]
"""What a worker keeps loaded between trials: the same for trials that share model and data."""


Claim = Callable[[Sequence[TrialSpec]], Iterable[TrialSpec]]
"""Asked shortly before trials are handed out: those of them that nobody else runs."""


def affinity(spec: TrialSpec) -> Affinity:
    """Equal for trials that share backbone and task."""
    weights, task = spec.backbone, spec.task
    return (weights.fingerprint, weights.dtype, task.model_dump_json(), spec.data)


class TrialQueue:
    """Trials that wait, in the order given, gathered by what they need loaded.

    A worker stays with its affinity while trials of it remain. Then it gets the first affinity that
    no other worker is at, or helps where most trials are left for each worker. Equal specs are one
    trial. Trials that lost their worker wait apart, because each of them has to be alone with its
    next one: a worker may take the results of the trials before down with it, and the innocent
    could not be told from the guilty.

    What waits is anybody's: trials are claimed when their turn has come, some at a time, and those
    that others run leave the queue.
    """

    def __init__(self, specs: Iterable[TrialSpec], claim: Claim = list) -> None:
        self._claim = claim
        self._known: set[str] = set()
        self._ours: set[str] = set()
        self._lanes: dict[Affinity, deque[TrialSpec]] = {}
        self._lost: deque[TrialSpec] = deque()
        self._suspects: set[str] = set()
        self.add(specs)

    def add(self, specs: Iterable[TrialSpec]) -> None:
        """More trials, behind those that wait; those that were here before are left out."""
        for spec in specs:
            if spec.id not in self._known:
                self._known.add(spec.id)
                self._lanes.setdefault(affinity(spec), deque()).append(spec)

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values())) + len(self._lost)

    def take(
        self,
        held: Affinity | None,
        others: Iterable[Affinity | None],
        limit: int,
        horizon: int = 1,
    ) -> list[TrialSpec]:
        """Up to ``limit`` fresh trials of one affinity, removed from the queue; empty if none wait.

        ``held`` is what the worker has loaded, ``others`` what the other workers have. ``horizon``
        is how many are claimed at once, ``limit`` at least: as many as will soon be run.
        """
        elsewhere, horizon = list(others), max(limit, horizon)
        while waiting := {key: len(lane) for key, lane in self._lanes.items() if lane}:
            lane = self._lanes[_choose(waiting, held, elsewhere)]
            self._claim_first(lane, horizon)
            if taken := self._take_ours(lane, limit):
                return taken
            horizon *= 2  # somebody has been here: perhaps they are far ahead
        return []

    def take_suspect(self, fits: Callable[[TrialSpec], bool] = lambda _: True) -> list[TrialSpec]:
        """A trial that was put back and ``fits`` a worker that holds nothing else, or none."""
        found = next((spec for spec in self._lost if fits(spec)), None)
        if found is None:
            return []
        self._lost.remove(found)
        return [found]

    def _claim_first(self, lane: deque[TrialSpec], count: int) -> None:
        if lane[0].id not in self._ours:
            asked = [lane.popleft() for _ in range(min(count, len(lane)))]
            ours = list(self._claim(asked))
            self._ours.update(spec.id for spec in ours)
            lane.extendleft(reversed(ours))

    def _take_ours(self, lane: deque[TrialSpec], limit: int) -> list[TrialSpec]:
        taken: list[TrialSpec] = []
        while lane and lane[0].id in self._ours and len(taken) < limit:
            taken.append(lane.popleft())
            self._ours.remove(taken[-1].id)
        return taken

    def put_back(self, specs: Iterable[TrialSpec]) -> None:
        """Return trials that were taken but did not end."""
        for spec in specs:
            self._suspects.add(spec.id)
            self._lost.append(spec)

    def is_suspect(self, spec: TrialSpec) -> bool:
        """Whether the trial was ever put back."""
        return spec.id in self._suspects


def _choose(
    waiting: dict[Affinity, int], held: Affinity | None, others: list[Affinity | None]
) -> Affinity:
    if held in waiting:
        return held
    free = (key for key in waiting if key not in others)
    return next(free, None) or max(waiting, key=lambda key: waiting[key] / others.count(key))
