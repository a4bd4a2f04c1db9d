"""What a plan will take, from what past trials of its kind took.

A trial's time is estimated from past ones of the same task, backbone and method, in proportion to
the examples; where there are none, from other methods of the same task and backbone, which are less
sure. Nothing is made up for a task and backbone that were never measured together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sweeps.trial import TrialSpec

Basis = Literal["method", "backbone", "none"]
"""Past trials of the same task and backbone with the same method, with others, or none at all."""
SURE: Final = 1.645
"""Standard deviations of a 90 % interval."""
DRIFT: Final = 0.15
"""Relative spread of everything together: a machine is not equally busy on every day."""
UNSURE: Final = 0.5
"""Relative spread that a single past trial is taken to have."""


@dataclass(frozen=True, slots=True)
class Past:
    """Finished trials of one task, backbone and method with equally many examples."""

    task: str
    backbone: str
    method: str
    num_examples: int
    count: int
    seconds: float
    """Mean wall time of a trial."""
    squares: float
    """Mean of the squared times."""
    peak_bytes: int
    """Largest peak of memory among these trials."""
    weight_bytes: int
    """Most bytes of weights among them."""

    @property
    def variance(self) -> float:
        """Of one trial's time, in seconds squared."""
        if self.count < 2:
            return (UNSURE * self.seconds) ** 2
        return max(0.0, self.squares - self.seconds**2) * self.count / (self.count - 1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long one trial will take, in seconds, and the variance of that."""

    basis: Basis
    seconds: float = 0.0
    own: float = 0.0
    """Variance from trial to trial."""
    shared: float = 0.0
    """Variance of the mean, the same error for all trials of the kind."""


@dataclass(frozen=True)
class Price:
    """Time of trials that are to be measured; hours of one worker, and of the wall."""

    trials: int
    by_basis: dict[str, int]
    """How many trials are estimated from what."""
    past: int
    """Past trials behind the estimate."""
    workers: int
    worker_seconds: float
    """Sum over the trials whose time can be told."""
    wall_seconds: float
    low_seconds: float
    high_seconds: float
    """Ends of a 90 % interval of the wall time."""
    gpu_hours: float


class Prices:
    """Estimates from past trials."""

    def __init__(self, past: Iterable[Past]) -> None:
        self.past = list(past)
        self._exact: dict[tuple[str, str, str], list[Past]] = {}
        self._near: dict[tuple[str, str], list[Past]] = {}
        for each in self.past:
            self._exact.setdefault((each.task, each.backbone, each.method), []).append(each)
            self._near.setdefault((each.task, each.backbone), []).append(each)

    def estimate(self, task: str, backbone: str, method: str, num_examples: int) -> Estimate:
        """The time of one trial of a kind."""
        exact = self._exact.get((task, backbone, method))
        if exact:
            best = _nearest(exact, num_examples)
            scale = _scale(best, num_examples)
            own = best.variance * scale**2
            return Estimate("method", best.seconds * scale, own, own / best.count)
        near = self._near.get((task, backbone))
        if not near:
            return Estimate("none")
        times = [each.seconds * _scale(each, num_examples) for each in near]
        mean = sum(times) / len(times)
        between = sum((each - mean) ** 2 for each in times) / max(1, len(times) - 1)
        return Estimate("backbone", mean, between, max(between, (UNSURE * mean) ** 2))

    def of(
        self,
        specs: Sequence[TrialSpec],
        workers: int,
        gpus: float,
        utilisation: float,
        start_seconds: float,
    ) -> Price:
        """What these trials take on so many workers, each with ``gpus``."""
        kinds = Counter(map(_kind, specs))
        total = own = shared = 0.0
        by_basis: Counter[str] = Counter()
        for kind, count in kinds.items():
            estimate = self.estimate(*kind)
            by_basis[estimate.basis] += count
            total += count * estimate.seconds
            own += count * estimate.own
            shared += count**2 * estimate.shared
        busy = max(1, min(workers, len(specs))) * utilisation
        spread = SURE * math.sqrt(own + shared + (DRIFT * total) ** 2) / busy
        start = start_seconds if specs else 0.0
        wall = total / busy
        return Price(
            trials=len(specs),
            by_basis=dict(by_basis),
            past=sum(each.count for each in self._behind(kinds)),
            workers=workers,
            worker_seconds=total,
            wall_seconds=start + wall,
            low_seconds=start + max(wall / 4, wall - spread),
            high_seconds=start + wall + spread,
            gpu_hours=total * gpus / 3600,
        )

    def memory(self, task: str, backbone: str, method: str) -> tuple[int | None, int | None]:
        """Bytes of weights and of the largest forward pass; None where nothing was measured."""
        near = self._near.get((task, backbone))
        if not near:
            return None, None
        exact = self._exact.get((task, backbone, method), near)
        return max(each.weight_bytes for each in near), max(each.peak_bytes for each in exact)

    def _behind(self, kinds: Iterable[tuple[str, str, str, int]]) -> set[Past]:
        found: set[Past] = set()
        for task, backbone, method, _ in kinds:
            near = self._near.get((task, backbone), [])
            found.update(self._exact.get((task, backbone, method), near))
        return found


def _kind(spec: TrialSpec) -> tuple[str, str, str, int]:
    examples = spec.task.params.get("num_examples", 0) if spec.measure.quality else 0
    assert isinstance(examples, int)
    return spec.task.id, spec.backbone.name, spec.method.id, examples


def _nearest(past: Sequence[Past], num_examples: int) -> Past:
    return min(past, key=lambda each: (abs(each.num_examples - num_examples), -each.count))


def _scale(past: Past, num_examples: int) -> float:
    if not past.num_examples or not num_examples:
        return 1.0
    return num_examples / past.num_examples
