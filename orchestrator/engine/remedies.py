"""What is done after an attempt that failed, trial by trial and node by node; knows nothing of Ray.

- Out of memory: again in smaller batches, then alone on the device, then it has failed.
- Too long: its worker was ended; once again, then it has failed.
- The worker died, or the device is at fault: again on another node where there is one; the third
  time it has failed.
- Everything else would only happen again.

A node on which several trials in a row lose their workers or find the device at fault is at fault
itself, and left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from sweeps.failures import FailureKind, Remedy
from sweeps.trial import TrialResult, TrialSpec, TrialState

MAX_STRIKES: Final = 3
"""Workers that a trial may take down with it."""
NODE_FAULTS: Final = 3
"""Attempts in a row, of two trials at least, that a node may spoil."""
_LADDERS: Final[dict[FailureKind, tuple[Remedy, ...]]] = {
    FailureKind.OUT_OF_MEMORY: (Remedy.SMALLER_BATCH, Remedy.ALONE),
    FailureKind.TIMEOUT: (Remedy.AGAIN,),
    FailureKind.WORKER_DIED: (Remedy.ELSEWHERE,) * (MAX_STRIKES - 1),
    FailureKind.DEVICE_FAULT: (Remedy.ELSEWHERE,) * (MAX_STRIKES - 1),
}
_OF_NODES: Final = frozenset({FailureKind.WORKER_DIED, FailureKind.DEVICE_FAULT})


class Remedies:
    """What was tried, and what comes next."""

    def __init__(self) -> None:
        self._failed: defaultdict[str, Counter[FailureKind]] = defaultdict(Counter)
        self._chosen: defaultdict[str, set[Remedy]] = defaultdict(set)
        self._spoilt: defaultdict[str, set[str]] = defaultdict(set)
        self._in_a_row: defaultdict[str, list[str]] = defaultdict(list)

    def after(self, spec: TrialSpec, result: TrialResult, node: str) -> Remedy | None:
        """What to do about an attempt on ``node``; None if it was the last, for better or worse."""
        if result.state is TrialState.FINISHED:
            self._in_a_row.pop(node, None)
        if result.failure is None:
            return None
        if result.failure in _OF_NODES:
            self._spoilt[spec.id].add(node)
            self._in_a_row[node].append(spec.id)
        remedy = self._next(spec, result.failure)
        if remedy is not None:
            self._chosen[spec.id].add(remedy)
        return remedy

    def small_batches(self, trial_id: str) -> bool:
        """Whether memory was short before."""
        return Remedy.SMALLER_BATCH in self._chosen.get(trial_id, ())

    def alone(self, trial_id: str) -> bool:
        """Whether it was short in smaller batches too."""
        return Remedy.ALONE in self._chosen.get(trial_id, ())

    def avoids(self, trial_id: str, node: str) -> bool:
        """Whether the trial should run elsewhere if it can."""
        return node in self._spoilt.get(trial_id, ())

    @property
    def faulty_nodes(self) -> set[str]:
        """Nodes that should get no more work."""
        return {
            node
            for node, trials in self._in_a_row.items()
            if len(trials) >= NODE_FAULTS and len(set(trials)) > 1
        }

    def _next(self, spec: TrialSpec, kind: FailureKind) -> Remedy | None:
        ladder = _LADDERS.get(kind, ())
        if not spec.measure.quality:  # costs are counted on one batch, whose size is part of them
            ladder = tuple(each for each in ladder if each is not Remedy.SMALLER_BATCH)
        step = self._failed[spec.id][kind]
        self._failed[spec.id][kind] += 1
        return ladder[step] if step < len(ladder) else None
