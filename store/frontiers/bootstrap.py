"""Resampling examples: what the means would have been had other examples been drawn.

Every configuration is measured on the same examples, so that one draw of examples goes to all of
them: what is hard about an example then cancels in every difference between configurations. Where
a task says which examples hang together (windows of one file, scenes of one gallery), whole
clusters are drawn.

Seeds are runs of trained models over the same examples. By default they are *fixed*: outcomes are
averaged over seeds first, and statements are about these models on other examples of the kind.
With seeds *drawn* they are resampled too, all configurations alike; statements are then about
models trained alike, and few seeds make them coarse.

An outcome that is missing (NaN) is left out of its configuration's mean.

Shapes: P configurations, S seeds, E examples, C clusters, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Bootstrap(BaseModel):
    """How examples are resampled, and what counts as sure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resamples: int = Field(default=1000, ge=1, le=100_000, description="Draws of all examples.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="What counts as sure.")
    seeds: Literal["fixed", "drawn"] = Field(
        default="fixed", description="Whether trained models are drawn as well as examples."
    )
    random_seed: int = Field(default=0, ge=0, description="Equal seeds give equal answers.")


@dataclass(frozen=True)
class Draws:
    """How often each resample holds each example, and each seed."""

    examples_RE: Floats
    seeds_RS: Floats | None
    """None where seeds are fixed."""


def draw(clusters_E: Ints, num_seeds: int, how: Bootstrap) -> Draws:
    """Resamples of whole clusters, with replacement; ``clusters_E`` numbers them from 0."""
    rng = np.random.default_rng(how.random_seed)
    clusters_RC = _counts(rng, int(clusters_E.max()) + 1, how.resamples)
    return Draws(clusters_RC[:, clusters_E], seed_counts(rng, num_seeds, how))


def seed_counts(rng: np.random.Generator, num_seeds: int, how: Bootstrap) -> Floats | None:
    """How often each resample holds each seed [R, S]; None where seeds are fixed."""
    return _counts(rng, num_seeds, how.resamples) if how.seeds == "drawn" else None


def resampled_means(outcomes_PSE: Floats, draws: Draws) -> Floats:
    """Mean outcome of every configuration in every resample [P, R].

    NaN where a resample holds no outcome of a configuration. One matrix product over examples, and
    one for each seed where seeds are drawn.
    """
    sums_PR, totals_PR = weighted_sums(outcomes_PSE, np.isfinite(outcomes_PSE), draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(sums_PR, totals_PR, out=sums_PR)


def observed_means(outcomes_PSE: Floats) -> Floats:
    """Mean of the outcomes that every configuration has [P]; NaN where it has none."""
    once = Draws(np.ones((1, outcomes_PSE.shape[2])), None)
    return resampled_means(outcomes_PSE, once)[:, 0]


def weighted_sums(values_PSE: Floats, known_PSE: Flags, draws: Draws) -> tuple[Floats, Floats]:
    """Sums [P, R] of the known values, and of their weights ([1, R] where all are known)."""
    if known_PSE.all():
        everything = np.ones((1, *values_PSE.shape[1:]))
        return _weighted(values_PSE, draws), _weighted(everything, draws)
    sums_PR = _weighted(np.where(known_PSE, values_PSE, 0.0), draws)
    return sums_PR, _weighted(known_PSE.astype(np.float64), draws)


def _counts(rng: np.random.Generator, num: int, resamples: int) -> Floats:
    """How often each of ``num`` is drawn in ``num`` draws [R, num]."""
    return rng.multinomial(num, np.full(num, 1 / num), size=resamples).astype(np.float64)


def _weighted(values_PSE: Floats, draws: Draws) -> Floats:
    """Sums over seeds and examples, each as often as it was drawn [P, R]."""
    if draws.seeds_RS is None:
        return np.asarray(values_PSE.sum(axis=1) @ draws.examples_RE.T)
    sums_PR = np.zeros((len(values_PSE), len(draws.examples_RE)))
    for seed, drawn_R in enumerate(draws.seeds_RS.T):
        sums_PR += drawn_R * (values_PSE[:, seed] @ draws.examples_RE.T)
    return sums_PR
