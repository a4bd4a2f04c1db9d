"""Two configurations on the same examples and seeds, from their own outcomes alone.

However large a sweep is, this reads two configurations of it. Shapes: 2 configurations, S seeds,
E examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from store.frontiers.bootstrap import Bootstrap, Floats, Ints
from store.frontiers.claims import Claims
from store.frontiers.frontier import Objectives, SeedGroup
from store.frontiers.paired import Paired, UnanswerableError, pair
from store.repository import Store
from store.serialization import ExampleOutcomes


@dataclass(frozen=True)
class Comparison:
    """The first configuration against the second."""

    paired: Paired
    """Both, in this order."""

    @cached_property
    def outcomes_2E(self) -> Floats:  # noqa: N802
        """Mean outcome over seeds."""
        return np.asarray(self.paired.outcomes_PSE.mean(axis=1))

    @cached_property
    def gains_E(self) -> Floats:  # noqa: N802
        """How much better the first is; below 0 where it is worse."""
        return np.asarray(self.paired.sign * (self.outcomes_2E[0] - self.outcomes_2E[1]))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean difference in outcome, first less second."""
        paired = self.paired
        bounded = paired.direction == "maximize"
        claims = Claims(paired.outcomes_PSE, paired.clusters_E, Bootstrap(), bounded)
        low_P, high_P = claims.differences(1)
        return float(low_P[0]), float(high_P[0])

    @property
    def difference(self) -> float:
        """Mean outcome of the first less that of the second."""
        return float(self.paired.means[0] - self.paired.means[1])

    def where(self, kind: str) -> Ints:
        """Examples, the largest change first; of ``worse``, ``better``, ``equal`` or ``all``."""
        chosen = {
            "worse": self.gains_E < 0,
            "better": self.gains_E > 0,
            "equal": self.gains_E == 0,
            "all": np.ones(len(self.gains_E), dtype=bool),
        }[kind]
        found = np.flatnonzero(chosen)
        return np.asarray(found[np.argsort(-np.abs(self.gains_E[found]), kind="stable")])


def compare(
    store: Store, sweep: str, objectives: Objectives, first: SeedGroup, second: SeedGroup
) -> Comparison:
    """Compare on what both were asked. Raises ValueError where that is nothing."""
    trials = [*first.trials, *second.trials]
    points = [p for p in store.finished_points(sweep, trials) if p.workload == first.workload]
    outcomes: Mapping[str, ExampleOutcomes] = store.all_outcomes(trials)
    if not outcomes:
        raise UnanswerableError("costs alone were measured here: there are no outcomes to compare")
    shared = {*first.seeds} & {*second.seeds}
    own = dict.fromkeys(first.trials, 0)
    ordered = sorted((p for p in points if p.seed in shared), key=lambda p: own.get(p.trial, 1))
    if not ordered:
        raise UnanswerableError("the two configurations have no seed in common")
    return Comparison(pair(ordered, outcomes, objectives))
