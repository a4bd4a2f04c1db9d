"""Methods ranked over a fixed ladder of keep ratios, with what an oracle could still gain.

A method's area is its mean quality over the ladder: under the straight lines between its rungs,
over log2 of the keep ratio, divided by the ladder's width. Only methods with every rung are ranked,
so that areas compare.

The oracle gap, as in Matryoshka Multimodal Models (arXiv:2405.17430): an oracle picks
the rung example by example, and among the best ones the smallest. ``oracle_gap`` is what it gains
over the one best rung, ``oracle_keep`` the share of tokens that it keeps. ``method_gap`` is what
picking the *method* example by example, rung by rung, would gain over always using this one. Both
take a best over noisy outcomes and are upper bounds.

Shapes: M methods, L rungs, P configurations, S seeds, E examples, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from store.frontiers.bootstrap import Floats, Ints, observed_means, resampled_means
from store.frontiers.claims import Claims
from store.frontiers.paired import Paired, Resampled, UnanswerableError, largest_shared
from store.frontiers.uncertainty import ROUNDING
from sweeps.trial import BASELINE

LADDER: Final = (0.5, 0.25, 0.125, 0.0625)
"""Keep ratios that methods are compared at, unless the sweep has others."""
Variant = tuple[str, str, str]
"""Method, hyperparameters as JSON, schedule."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One method over the ladder; qualities are in the task's unit, gaps are never negative."""

    method: str
    hyperparameters_json: str
    schedule: str
    qualities: tuple[float, ...]
    """Mean quality at every rung of the ladder."""
    area: float
    low: float
    high: float
    """Ends of the area's interval."""
    probability: float
    """Share of the resamples in which its area is the best."""
    group: int
    """Those with equal numbers cannot be told apart; 1 is the best."""
    oracle: float
    """Quality of the oracle that picks the rung."""
    oracle_keep: float
    oracle_gap: float
    method_gap: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """All methods of a workload, the best first."""

    rungs: tuple[float, ...]
    methods: tuple[Ranked, ...]
    left_out: tuple[Variant, ...]
    """Methods without some rung."""


def rank(resampled: Resampled, ladder: Sequence[float] | None = None) -> Ranking:
    """Rank methods by their area. Without a ladder: :func:`rungs_of` the workload.

    Raises ValueError for a ladder of fewer than two rungs or with ratios outside (0, 1], and
    UnanswerableError where the workload itself has fewer.
    """
    paired = resampled.paired
    curves = _curves(paired)
    rungs = rungs_of(paired) if ladder is None else _checked(ladder)
    if len(rungs) < 2:
        raise UnanswerableError(f"workload {paired.workload!r} has no two keep ratios below 1")
    whole = {v: curve for v, curve in curves.items() if all(near(r) in curve for r in rungs)}
    left_out = tuple(variant for variant in curves if variant not in whole)
    if not whole:
        return Ranking(rungs, (), left_out)
    indices_ML = np.array([[curve[near(rung)] for rung in rungs] for curve in whole.values()])
    ranked = _ranked(resampled, list(whole), indices_ML, rungs)
    return Ranking(rungs, tuple(ranked), left_out)


def rungs_of(paired: Paired) -> tuple[float, ...]:
    """Those of :data:`LADDER` that were measured, or else the ratios below 1 that most share."""
    curves = _curves(paired).values()
    measured = {ratio for curve in curves for ratio in curve}
    fixed = tuple(rung for rung in LADDER if near(rung) in measured)
    if len(fixed) > 1:
        return fixed
    shared = largest_shared(frozenset(curve) - {1.0} for curve in curves if len(curve) > 1)
    return tuple(sorted(shared, reverse=True))


def _checked(ladder: Sequence[float]) -> tuple[float, ...]:
    rungs = tuple(sorted(set(ladder), reverse=True))
    if len(rungs) < 2 or not all(0 < rung <= 1 for rung in rungs):
        raise ValueError(f"a ladder has at least two keep ratios above 0 up to 1; got {[*ladder]}")
    return rungs


def shares(rungs: Sequence[float]) -> Floats:
    """What each rung adds to the area [L]: trapezia over log2 of the keep ratio; their sum is 1."""
    places = -np.log2(np.array(rungs))
    widths = np.diff(places)
    sides = np.concatenate([widths, [0.0]]) + np.concatenate([[0.0], widths])
    return np.asarray(sides / (2 * (places[-1] - places[0])))


def near(ratio: float) -> float:
    """Ratios that differ by rounding are one rung."""
    return float(f"{ratio:.6g}")


def _curves(paired: Paired) -> dict[Variant, dict[float, int]]:
    curves: dict[Variant, dict[float, int]] = {}
    for index, each in enumerate(paired.configurations):
        if each.method != BASELINE:
            variant = each.method, each.hyperparameters_json, each.schedule
            curves.setdefault(variant, {})[near(each.keep_ratio)] = index
    return curves


def _ranked(
    resampled: Resampled, variants: Sequence[Variant], indices_ML: Ints, rungs: Sequence[float]
) -> list[Ranked]:
    paired = resampled.paired
    sign = paired.sign
    merit_MLSE = _complete(sign * paired.outcomes_PSE[indices_ML])
    areas_MSE = np.tensordot(shares(rungs), merit_MLSE, axes=(0, 1))
    area_M, area_MR = observed_means(areas_MSE), resampled_means(areas_MSE, resampled.draws)
    bounded = paired.direction == "maximize"
    claims = Claims(sign * areas_MSE, paired.clusters_E, resampled.how, bounded)
    low_M, high_M = claims.intervals()
    rung_ML = np.stack([observed_means(merit_LSE) for merit_LSE in merit_MLSE])
    oracle_M, keep_M = _oracle(merit_MLSE, rungs)
    best_M = (area_MR >= np.fmax.reduce(area_MR, axis=0) - ROUNDING).mean(axis=1)
    group_M = claims.groups(np.arange(len(variants)), area_M, sign)
    columns = {
        "area": sign * area_M,
        "low": low_M,
        "high": high_M,
        "probability": best_M,
        "oracle": sign * oracle_M,
        "oracle_keep": keep_M,
        "oracle_gap": oracle_M - rung_ML.max(axis=1),
        "method_gap": _everyone(merit_MLSE, rungs) - area_M,
    }
    return [
        Ranked(
            method=variants[m][0],
            hyperparameters_json=variants[m][1],
            schedule=variants[m][2],
            qualities=tuple(float(quality) for quality in sign * rung_ML[m]),
            group=int(group_M[m]),
            **{name: float(column[m]) for name, column in columns.items()},
        )
        for m in np.argsort(-area_M, kind="stable")
    ]


def _complete(merit_MLSE: Floats) -> Floats:
    """An example counts for a method where it was evaluated on every rung."""
    known_M1SE = np.isfinite(merit_MLSE).all(axis=1, keepdims=True)
    return np.where(known_M1SE, merit_MLSE, np.nan)


def _everyone(merit_MLSE: Floats, rungs: Sequence[float]) -> float:
    """Area of picking the best method for every example, rung by rung."""
    best_LSE = np.fmax.reduce(merit_MLSE, axis=0)
    areas_SE = np.tensordot(shares(rungs), best_LSE, axes=(0, 0))
    return float(observed_means(areas_SE[None])[0])


def _oracle(merit_MLSE: Floats, rungs: Sequence[float]) -> tuple[Floats, Floats]:
    """Mean merit and keep ratio [M] of picking the best rung, and of equals the smallest."""
    best_MSE = merit_MLSE.max(axis=1)
    reached = merit_MLSE >= best_MSE[:, None] - ROUNDING
    keeps_MLSE = np.broadcast_to(np.array(rungs)[None, :, None, None], merit_MLSE.shape)
    keep_MSE = np.where(reached, keeps_MLSE, np.inf).min(axis=1)  # infinite where unknown
    return observed_means(best_MSE), observed_means(keep_MSE)
