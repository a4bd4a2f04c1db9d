"""How sure it is that a configuration loses no more quality than allowed.

Whoever tries many configurations and takes the cheapest that passes finds one by luck sooner or
later: with forty that lose just more than allowed, in most sweeps. What was chosen is therefore
judged twice: on its own, and with the choice counted in. Costs are known beforehand, and so is the
order in which they are tried, cheapest first; the i-th of n may err with probability
``alpha / (i H_n)``, where H_n = 1 + 1/2 + ... + 1/n. These add up to ``alpha``, so that the whole
choice errs with at most that probability, however outcomes depend on each other.

Shapes: P configurations, R resamples.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from store.frontiers.bootstrap import Floats
from store.frontiers.paired import Paired, Resampled
from store.frontiers.uncertainty import ROUNDING

MOST_DRAWS: Final = 100_000
"""Resamples at most for one small probability."""
_LOSS = re.compile(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*(%?)\s*\Z")


@dataclass(frozen=True, slots=True)
class Loss:
    """How much worse than the uncompressed model is allowed."""

    amount: float
    relative: bool
    """Of the uncompressed model's quality, or in its unit."""

    @classmethod
    def parse(cls, text: str) -> Loss:
        """From ``"1%"`` (of the baseline) or ``"0.01"`` (in the unit of quality)."""
        match = _LOSS.match(text)
        try:
            amount = float(match[1]) if match else None
        except ValueError:
            amount = None
        if match is None or amount is None:
            raise ValueError(f'within {text!r}: write "1%" of the baseline, or "0.01" in its unit')
        return cls(amount / 100, relative=True) if match[2] else cls(amount, relative=False)


def provable(paired: Paired, confidence: float) -> float | None:
    """The smallest loss that can be shown: of a configuration that changes no outcome at all.

    None where outcomes have no bounds, and the loss depends on them.
    """
    if paired.direction == "minimize":
        return None
    return float(1 - (1 - confidence) ** (1 / (int(paired.clusters_E.max()) + 1)))


def sure(resampled: Resampled, loss: Loss) -> Floats:
    """Confidence [P] that each configuration on its own loses no more than allowed.

    Raises UnanswerableError where the uncompressed model was not measured.
    """
    return np.asarray((_margins(resampled, loss) >= 0).mean(axis=1))


def chances_in_order(place: int, num_tried: int) -> float:
    """By what factor an error is likelier for the first that passed, tried at ``place`` from 1."""
    return place * sum(1 / number for number in range(1, num_tried + 1))


def sure_of_all(resampled: Resampled, loss: Loss, chosen: int, chances: float) -> float:
    """Confidence in a configuration whose choice makes an error likelier by ``chances``.

    Small probabilities take many resamples; those of the chosen one alone are cheap.
    """
    paired, how = resampled.paired, resampled.how
    if chosen == paired.baseline:
        return 1.0
    wanted = min(MOST_DRAWS, math.ceil(10 * chances / (1 - how.confidence)))
    two = [paired.baseline, chosen]
    small = dataclasses.replace(
        paired,
        configurations=tuple(paired.configurations[index] for index in two),
        outcomes_PSE=paired.outcomes_PSE[two],
    )
    misses = draws = 0
    while draws < wanted:
        other = how.model_copy(update={"random_seed": how.random_seed + 1 + draws})
        misses += int((_margins(Resampled(small, other), loss)[1] < 0).sum())
        draws += how.resamples
    return float(max(0.0, 1 - chances * (misses + 1) / (draws + 1)))


def _margins(resampled: Resampled, loss: Loss) -> Floats:
    """How far every configuration stays above the least allowed quality [P, R], cautiously."""
    paired, claims = resampled.paired, resampled.claims
    baseline = paired.baseline
    allowed = loss.amount * (np.abs(claims.means(baseline)) if loss.relative else 1.0)
    margins_PR = claims.shortfalls(baseline, paired.sign) + allowed + ROUNDING
    margins_PR[baseline] = allowed + ROUNDING  # the uncompressed model is itself for certain
    return margins_PR
