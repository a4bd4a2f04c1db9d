"""The one configuration that answers a question: the best of something, within limits.

*Best quality under 0.4x FLOPs* limits a cost; *cheapest within 1 % of the baseline with 95 %
confidence* limits the loss of quality, and how sure that has to be; *smallest KV under 0.7x p95
latency* limits one cost and asks for another.

How sure is the cautious share of :mod:`store.frontiers.claims`; see :mod:`store.questions.loss`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from store.frontiers.bootstrap import Flags, Floats, Ints
from store.frontiers.paired import Paired, Resampled
from store.frontiers.uncertainty import ROUNDING
from store.questions.limits import excess, measured, within
from store.questions.loss import Loss, chances_in_order, sure, sure_of_all
from sweeps.metrics import METRICS, QUALITY


@dataclass(frozen=True, slots=True)
class Limits:
    """What a configuration must keep to."""

    maximum: Mapping[str, float]
    minimum: Mapping[str, float]
    """Bounds on measured numbers, ends included."""
    within: Loss | None = None


@dataclass(frozen=True, slots=True)
class Best:
    """The answer for one workload; indices are of its configurations."""

    chosen: int | None
    """None where nothing keeps to the limits."""
    eligible: int
    """How many configurations keep to the limits."""
    sure: float | None
    """Confidence that the chosen one keeps to the allowed loss; None where none was stated."""
    sure_of_all: float | None
    """The same, with the choice among all that were tried counted in."""
    probability: float | None
    """Asked for quality: share of the resamples in which the chosen one is the best eligible."""
    ties: tuple[int, ...]
    """Asked for quality: eligible ones that cannot be told apart from it, cheapest first."""
    nearest: int | None
    """Where nothing keeps to the limits: what comes nearest."""


def best(resampled: Resampled, of: str, limits: Limits) -> Best:
    """The best configuration in ``of`` within limits; a tie goes to the better other one.

    Simulated costs count as not measured, and a configuration without a limited number is out.
    Raises ValueError for an unknown metric, naming the nearest, and where a loss is allowed but the
    uncompressed model was not measured.
    """
    paired = resampled.paired
    keeping = within(paired, limits.maximum, limits.minimum)
    keeping &= np.isfinite(measured(paired, of)) & np.isfinite(paired.means)
    sure_P = None if limits.within is None else sure(resampled, limits.within)
    confident = sure_P is None or sure_P >= resampled.how.confidence
    eligible = np.flatnonzero(keeping & confident)
    if not len(eligible):
        return Best(None, 0, None, None, None, (), _nearest(paired, keeping, sure_P, limits))
    ranked = _ranked(paired, of, eligible)
    chosen = int(ranked[0])
    return Best(
        chosen=chosen,
        eligible=len(eligible),
        sure=None if sure_P is None else float(sure_P[chosen]),
        sure_of_all=_sure_of_all(resampled, of, limits, np.flatnonzero(keeping), chosen),
        probability=_probability(resampled, eligible, chosen) if of == QUALITY else None,
        ties=_ties(resampled, ranked) if of == QUALITY else (),
        nearest=None,
    )


def merits(paired: Paired, metric: str) -> Floats:
    """A metric of every configuration [P], turned so that more is better; NaN where unknown."""
    if metric == QUALITY:
        return paired.sign * paired.means
    return measured(paired, metric) * (1 if METRICS[metric].direction == "maximize" else -1)


def _sure_of_all(
    resampled: Resampled, of: str, limits: Limits, tried: Ints, chosen: int
) -> float | None:
    """Counting in that the best of ``tried`` that passed was chosen."""
    if limits.within is None:
        return None
    chances = float(len(tried))  # whatever the order
    if of != QUALITY:
        place = int(np.flatnonzero(_ranked(resampled.paired, of, tried) == chosen)[0]) + 1
        chances = chances_in_order(place, len(tried))
    return sure_of_all(resampled, limits.within, chosen, chances)


def _ranked(paired: Paired, of: str, eligible: Ints) -> Ints:
    """Best first; what is equal in ``of`` by quality or by cost, then in the sweep's order."""
    other = paired.cost if of == QUALITY else QUALITY
    merit = np.round(merits(paired, of)[eligible], 12)
    second = np.zeros(len(eligible)) if other is None else merits(paired, other)[eligible]
    return eligible[np.lexsort((np.nan_to_num(-second, nan=np.inf), -merit))]


def _probability(resampled: Resampled, eligible: Ints, chosen: int) -> float:
    merit_PR = resampled.paired.sign * resampled.means
    slack = ROUNDING * max(1.0, float(np.nanmax(np.abs(merit_PR[eligible]))))
    return float((merit_PR[chosen] >= np.fmax.reduce(merit_PR[eligible], axis=0) - slack).mean())


def _ties(resampled: Resampled, ranked: Ints) -> tuple[int, ...]:
    """Configurations that tie with the first in quality, by rising cost."""
    paired = resampled.paired
    same = resampled.claims.tied(ranked[1:], int(ranked[0]), paired.sign)
    if paired.cost is None:
        return tuple(int(index) for index in same)
    cheapness = np.nan_to_num(merits(paired, paired.cost), nan=-np.inf)
    return tuple(sorted(map(int, same), key=lambda index: -cheapness[index]))


def _nearest(paired: Paired, keeping: Flags, sure_P: Floats | None, limits: Limits) -> int | None:
    """The surest within the bounds, or else what exceeds them by the smallest share."""
    if sure_P is not None and keeping.any():
        return int(np.where(keeping, sure_P, -1).argmax())
    missed = excess(paired, limits.maximum, limits.minimum)
    known = np.isfinite(missed)
    return int(np.where(known, missed, np.inf).argmin()) if known.any() else None
