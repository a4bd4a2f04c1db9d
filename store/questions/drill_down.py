"""Which examples compression breaks, and which it repairs: a mean hides both.

An outcome *breaks* where it is worse than the uncompressed model's on the same example and seed by
at least a margin, and is *repaired* where it is better by as much. With outcomes of 0 and 1 that is
right made wrong, and wrong made right.

Shapes: P configurations, S seeds, E examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from methods.naming import nearest, short
from store.frontiers.bootstrap import Floats, Ints, observed_means
from store.frontiers.paired import Paired
from store.frontiers.uncertainty import ROUNDING
from store.questions.ladder import near
from store.questions.names import is_named

Change = Literal["breaks", "repairs"]
Flags = NDArray[np.bool_]
HALF: Final = 0.5
"""The default margin: of the range of an outcome in [0, 1], or of the uncompressed model's mean
where outcomes are minimised and have no range."""

_CHANGES: tuple[Change, Change] = ("breaks", "repairs")
_SHOWN = 8  # choices in a message


@dataclass(frozen=True, slots=True)
class Tally:
    """What one configuration does to the examples of the uncompressed model."""

    index: int
    compared: int
    """Outcomes (examples times seeds) that both have."""
    breaks: int
    repairs: int
    difference: float
    """Mean outcome less the uncompressed model's, on what was compared."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One example that a configuration breaks or repairs."""

    example: int
    """0-based, in the task's order."""
    change: Change
    seeds: tuple[int, ...]
    """Seeds with which it breaks, or repairs, this example."""
    baseline: float
    outcome: float
    """Means over these seeds."""


@dataclass(frozen=True, slots=True)
class Hard:
    """What the configurations at one keep ratio have in common."""

    keep_ratio: float
    configurations: int
    lost: tuple[int, ...]
    """Examples that every configuration breaks, in every seed that had them right."""
    broken_by: tuple[tuple[int, int], ...]
    """Examples and how many configurations break them so, the most fragile first."""


@dataclass(frozen=True)
class DrillDown:
    """Outcomes of a workload beside the uncompressed model's.

    ``margin`` is in the unit of an outcome. Raises ValueError where it is not above 0, and where
    the uncompressed model was not measured.
    """

    paired: Paired
    margin: float

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ValueError(f"a margin is a difference in outcome above 0; got {self.margin}")
        _ = self.paired.baseline

    @cached_property
    def gains(self) -> Floats:
        """How much better than the uncompressed model [P, S, E]; NaN where either is missing."""
        outcomes = self.paired.outcomes_PSE
        return np.asarray(self.paired.sign * (outcomes - outcomes[self.paired.baseline]))

    def flags(self, change: Change) -> Flags:
        """Where outcomes change so [P, S, E]."""
        return self._changes(self.gains, change)

    def tallies(self) -> list[Tally]:
        """Every configuration but the uncompressed one, in the sweep's order."""
        breaks, repairs = (self.flags(change).sum(axis=(1, 2)) for change in _CHANGES)
        compared = np.isfinite(self.gains).sum(axis=(1, 2))
        difference = self.paired.sign * observed_means(self.gains)
        return [
            Tally(p, int(compared[p]), int(breaks[p]), int(repairs[p]), float(difference[p]))
            for p in range(len(compared))
            if p != self.paired.baseline
        ]

    def changed(self, index: int) -> list[Changed]:
        """Examples that a configuration breaks, then those that it repairs."""
        return [
            self._changed(index, int(example), change, np.flatnonzero(flags_SE[:, example]))
            for change in _CHANGES
            for flags_SE in [self._changes(self.gains[index], change)]
            for example in np.flatnonzero(flags_SE.any(axis=0))
        ]

    def hardest(self) -> list[Hard]:
        """For every keep ratio below 1, what its configurations break in common; largest first."""
        members: dict[float, list[int]] = {}
        for index, each in enumerate(self.paired.configurations):
            if near(each.keep_ratio) < 1:
                members.setdefault(near(each.keep_ratio), []).append(index)
        lost_PE = self._lost()
        return [_hard(ratio, lost_PE[members[ratio]]) for ratio in sorted(members, reverse=True)]

    def _changes(self, gains: Floats, change: Change) -> Flags:
        sign = -1 if change == "breaks" else 1
        return np.asarray(sign * gains >= self.margin - ROUNDING)

    def _changed(self, index: int, example: int, change: Change, at_S: Ints) -> Changed:
        outcomes_PS = self.paired.outcomes_PSE[:, at_S, example]
        return Changed(
            example,
            change,
            tuple(self.paired.seeds[s] for s in at_S),
            float(outcomes_PS[self.paired.baseline].mean()),
            float(outcomes_PS[index].mean()),
        )

    def _lost(self) -> Flags:
        """Examples that are broken in every seed in which there was something to break [P, E]."""
        breaks_PSE = self.flags("breaks")
        breakable_SE = np.isfinite(self.paired.outcomes_PSE[self.paired.baseline])
        if self.paired.direction == "maximize":
            breakable_SE &= self.paired.outcomes_PSE[self.paired.baseline] >= self.margin - ROUNDING
        kept_PSE = breakable_SE & ~breaks_PSE & np.isfinite(self.gains)
        return np.asarray(breaks_PSE.any(axis=1) & ~kept_PSE.any(axis=1))


def drill_down(paired: Paired, margin: float | None = None) -> DrillDown:
    """Compare with the uncompressed model; without a margin, :data:`HALF`. Raises as DrillDown."""
    if margin is None:
        whole = 1.0 if paired.direction == "maximize" else float(paired.means[paired.baseline])
        margin = HALF * whole
    return DrillDown(paired, margin)


def find(paired: Paired, name: str) -> int:
    """The configuration of a trial, by the start of its id, or ``METHOD@KEEP``.

    ``KEEP`` is the keep ratio as the sweep writes it. Raises ValueError where none or several fit,
    naming those that come nearest.
    """
    groups = paired.configurations
    fitting = [
        index
        for index, each in enumerate(groups)
        if is_named(name, each.method, each.keep_ratio, each.trials, each.keep_label)
    ]
    if len(fitting) == 1:
        return fitting[0]
    meant = nearest(name.partition("@")[0], (each.method for each in groups))
    near_by = fitting or [i for i, each in enumerate(groups) if each.method == meant]
    choices = _choices(paired, near_by or range(len(groups)))
    found = "several configurations" if fitting else "no configuration"
    raise ValueError(f"{name!r} names {found} of {paired.workload!r}; choices: {choices}")


def _choices(paired: Paired, indices: Sequence[int]) -> str:
    groups = [paired.configurations[index] for index in indices]
    texts = [
        f"{short(each.trials[0])} ({each.method}@{each.keep_label} {each.schedule})"
        for each in groups
    ]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _hard(ratio: float, lost_PE: Flags) -> Hard:
    counts_E: Ints = lost_PE.sum(axis=0)
    order = np.argsort(-counts_E, kind="stable")
    return Hard(
        keep_ratio=ratio,
        configurations=len(lost_PE),
        lost=tuple(int(e) for e in np.flatnonzero(counts_E == len(lost_PE))),
        broken_by=tuple((int(e), int(counts_E[e])) for e in order if counts_E[e]),
    )
