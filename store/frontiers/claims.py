"""What a limited number of examples can show: intervals, differences, ties.

A plain bootstrap cannot imagine what did not happen: a configuration that broke none of 64 examples
breaks none in any resample, although one in twenty may break outside. Claims are therefore made
cautiously: to the examples comes one more, as bad as can be for what is claimed, and all of them
get random weights (the Bayesian bootstrap of Rubin 1981 with the added extreme of Gaffke 2005,
*Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
variable*). For outcomes that only differ one way this is the exact sign test, and without any
difference it is the rule of three: to be 95 % sure of less than 1 % loss takes 300 examples.

Outcomes that are maximised lie in [0, 1], and so the worst difference is 1. Outcomes without bounds
take the largest difference seen in that comparison.

Shapes: P configurations, S seeds, E examples, C clusters, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from store.frontiers.bootstrap import (
    Bootstrap,
    Draws,
    Flags,
    Floats,
    Ints,
    seed_counts,
    weighted_sums,
)


@dataclass(frozen=True)
class Claims:
    """Random weights over examples, the same for every configuration, and sums under them."""

    values_PSE: Floats
    """NaN where an example was not evaluated."""
    clusters_E: Ints
    how: Bootstrap
    bounded: bool
    """Whether values lie in [0, 1]."""

    def intervals(self) -> tuple[Floats, Floats]:
        """Lower and upper ends [P] of the mean value."""
        lowest, highest = self._range()
        low_PR = self._with_extra(*self._sums, lowest)
        return self._lower(low_PR), self._upper(self._with_extra(*self._sums, highest))

    def differences(self, reference: int) -> tuple[Floats, Floats]:
        """Lower and upper ends [P] of the mean paired difference to one configuration."""
        everyone = np.arange(len(self.values_PSE))
        sums, totals = self._gains(everyone, reference)
        worst = self._worst(everyone, reference)
        low_PR = self._with_extra(sums, totals, -worst)
        return self._lower(low_PR), self._upper(self._with_extra(sums, totals, worst))

    def shortfalls(self, reference: int, sign: int) -> Floats:
        """Cautious gains on one configuration [P, R], weighted at random; ``sign`` turns values."""
        everyone = np.arange(len(self.values_PSE))
        sums, totals = self._gains(everyone, reference)
        return self._with_extra(sign * sums, totals, -self._worst(everyone, reference))

    def means(self, index: int) -> Floats:
        """Mean of one configuration under the weights [R]."""
        sums_PR, totals_PR = self._sums
        return np.asarray(sums_PR[index] / np.broadcast_to(totals_PR, sums_PR.shape)[index])

    def groups(self, members: Ints, merit_P: Floats, sign: int) -> Ints:
        """Numbers from 1: members that cannot be told apart from the best of their group.

        The best leads the first group; whatever is not shown to be worse joins, and the best of the
        rest leads the next. ``merit_P`` are the members' means, turned so that more is better.
        """
        numbers: Ints = np.zeros(len(members), dtype=np.int64)
        left = np.argsort(-merit_P, kind="stable")
        for number in range(1, len(members) + 1):
            if not len(left):
                break
            same = ~self._worse(members[left], int(members[left[0]]), sign)
            same[0] = True
            numbers[left[same]] = number
            left = left[~same]
        return numbers

    def tied(self, members: Ints, reference: int, sign: int) -> Ints:
        """Those members that cannot be told apart from ``reference``, itself not among them."""
        differ = self._worse(members, reference, sign) | self._worse(members, reference, -sign)
        same: Ints = members[~differ & (members != reference)]
        return same

    def _worse(self, members: Ints, reference: int, sign: int) -> Flags:
        """Whether each member is shown to be worse than the reference."""
        sums, _ = self._gains(members, reference)
        worst_P1 = np.reshape(self._worst(members, reference), (-1, 1))
        behind_PR = -sign * sums > self._extra * worst_P1
        return np.asarray(behind_PR.mean(axis=1) > 1 - (1 - self.how.confidence) / 2)

    @cached_property
    def _weights(self) -> tuple[Draws, Floats]:
        """Weights of examples and seeds, and of the extra cluster [R]."""
        rng = np.random.default_rng((self.how.random_seed, 1))
        num_clusters = int(self.clusters_E.max()) + 1
        weights_RC = rng.exponential(size=(self.how.resamples, num_clusters + 1))
        num_seeds = self.values_PSE.shape[1]
        seeds_RS = seed_counts(rng, num_seeds, self.how)
        return Draws(weights_RC[:, self.clusters_E], seeds_RS), weights_RC[:, -1]

    @cached_property
    def _extra(self) -> Floats:
        """The weight of the extra example [R]: that of a cluster of average size."""
        num_clusters = int(self.clusters_E.max()) + 1
        return np.asarray(self._weights[1] * self.values_PSE[0].size / num_clusters)

    @cached_property
    def _known(self) -> Flags:
        return np.isfinite(self.values_PSE)

    @cached_property
    def _sums(self) -> tuple[Floats, Floats]:
        return weighted_sums(self.values_PSE, self._known, self._weights[0])

    def _gains(self, members: Ints, reference: int) -> tuple[Floats, Floats]:
        """Weighted sums [P, R] of the differences to the reference, and of the weights."""
        if self._known.all():
            sums_PR, totals_PR = self._sums
            return sums_PR[members] - sums_PR[reference], totals_PR
        differences_PSE = self.values_PSE[members] - self.values_PSE[reference]
        return weighted_sums(differences_PSE, np.isfinite(differences_PSE), self._weights[0])

    def _with_extra(self, sums_PR: Floats, totals_PR: Floats, extra: Floats | float) -> Floats:
        """Means [P, R] with one more example of value ``extra``, which may differ by row."""
        extra_P1 = np.reshape(extra, (-1, 1))
        return np.asarray((sums_PR + self._extra * extra_P1) / (totals_PR + self._extra))

    def _range(self) -> tuple[Floats, Floats]:
        if self.bounded:
            return np.zeros(1), np.ones(1)
        known = self._known
        low_P = np.where(known, self.values_PSE, np.inf).min(axis=(1, 2))
        return low_P, np.where(known, self.values_PSE, -np.inf).max(axis=(1, 2))

    def _worst(self, members: Ints, reference: int) -> Floats | float:
        if self.bounded:
            return 1.0
        gaps_PSE = np.abs(self.values_PSE[members] - self.values_PSE[reference])
        return np.asarray(np.fmax.reduce(gaps_PSE, axis=(1, 2), initial=0.0))

    def _lower(self, means_PR: Floats) -> Floats:
        return np.asarray(np.quantile(means_PR, (1 - self.how.confidence) / 2, axis=1))

    def _upper(self, means_PR: Floats) -> Floats:
        return np.asarray(np.quantile(means_PR, 1 - (1 - self.how.confidence) / 2, axis=1))
