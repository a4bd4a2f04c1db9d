"""Racing: who needs more examples, decided from what is stored and from nothing else.

After every rung each configuration is in, out or still open, and the race ends when none is open or
the examples are used up. Those that are in run on with the open ones, which are compared with them.
Whoever is out stays out: what dominated it either runs on, or was itself dominated by what does.

Few examples make a plain bootstrap too sure: configurations that were right eight times of eight
are equal in every resample, and the dearer would be out although nothing tells them apart. A rung's
probabilities are therefore those of the Bayesian bootstrap (Rubin 1981) in which each configuration
has, besides the examples that all share, a part of an example of its own: as good and as bad as can
be, weighted by Gamma draws of shape :data:`OWN` (Jeffreys' prior for a share has 1/2). Ties break
either way, and a dearer configuration is out where several cheaper ones tie with it, or one that is
ahead. Once the examples are used up the store's own bootstrap says what the whole sweep would say.

No statistics are needed where a configuration could not reach a cheaper one that has all examples,
even if it got everything right that it was not asked yet.

Shapes: P configurations, S seeds, E examples, C clusters, R resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from store.frontiers.bootstrap import Bootstrap, Draws, Flags, Floats, Ints, weighted_sums
from store.frontiers.frontier import Objectives, SeedGroup
from store.frontiers.paired import Paired, Resampled, pair
from store.frontiers.uncertainty import (
    Verdict,
    competitors,
    on_frontier,
    oriented_costs,
    verdict_of,
)
from store.records import Point
from store.repository import Store
from store.serialization import ExampleOutcomes
from sweeps.metrics import QUALITY

OWN: Final = 0.3
RESAMPLES: Final = 500
Configuration = tuple[str, str, float, str]
"""Method, hyperparameters (JSON), keep ratio and schedule: what seeds are averaged over."""


@dataclass(frozen=True)
class Rules:
    """When a place counts as settled."""

    epsilon: float = 0.01
    """In the unit of quality; so much is worth no cost."""
    confidence: float = 0.95
    random_seed: int = 0

    @classmethod
    def of(cls, search: Mapping[str, Any]) -> Rules:
        """From the ``search`` of a stored sweep."""
        fields = (each.name for each in dataclasses.fields(cls))
        return cls(**{name: search[name] for name in fields if name in search})


@dataclass(frozen=True)
class Place:
    """A configuration's place after a rung."""

    examples: int
    """Of every seed, that were looked at."""
    probability: float
    """Of being on the frontier."""
    verdict: Verdict
    rival: Configuration | None = None
    """What it loses to, where it is out."""
    for_sure: bool = False
    """Whether no outcome of the other examples could change that."""


@dataclass
class Runner:
    """One configuration of a workload: its finished trials, each over more examples or fewer."""

    configuration: Configuration
    points: dict[int, list[Point]] = field(default_factory=dict)
    """Finished trials by seed, each over other numbers of examples."""
    lost: set[int] = field(default_factory=set)
    """Seeds whose trial failed."""

    def at(self, seed: int, examples: int) -> Point | None:
        """The shortest trial that saw so many examples."""
        enough = (p for p in self.points.get(seed, ()) if _examples(p) >= examples)
        return min(enough, key=_examples, default=None)


@dataclass(frozen=True)
class Race:
    """How far a race is, as its trials tell."""

    places: dict[Configuration, Place]
    """After the last rung that each took part in."""
    waiting: tuple[tuple[Configuration, int], ...]
    """Configurations and seeds that must be measured before the next decision."""
    examples: int
    """Of the rung that waits, or of the last one."""


def run(
    runners: Sequence[Runner],
    seeds: Sequence[int],
    sizes: Sequence[int],
    objectives: Objectives,
    outcomes: Mapping[str, ExampleOutcomes],
    rules: Rules,
) -> Race:
    """Race from the start, as far as the trials reach.

    ``sizes`` are the examples of the rungs, the last one all there are. Equal trials give an equal
    race, whenever and in whatever order they arrived.
    """
    places = {
        runner.configuration: Place(sizes[0], 0.0, "out", for_sure=True)
        for runner in runners
        if runner.lost.issuperset(seeds)
    }
    alive = list(runners)
    for examples in sizes:
        waiting = tuple(
            (runner.configuration, seed)
            for runner in alive
            for seed in seeds
            if seed not in runner.lost and runner.at(seed, examples) is None
        )
        if waiting:
            return Race(places, waiting, examples)
        paired = _paired(alive, seeds, examples, objectives, outcomes)
        if paired is None:
            return Race(places, (), examples)
        found = _places(paired, examples, sizes[-1], rules)
        places |= found
        if all(place.verdict != "open" for place in found.values()):
            return Race(places, (), examples)
        left = {name for name, place in found.items() if place.verdict != "out"}
        alive = [runner for runner in alive if runner.configuration in left]
    return Race(places, (), sizes[-1])


def configuration(point: Point | SeedGroup) -> Configuration:
    """What a point is compared as, over all its seeds."""
    return point.method, point.hyperparameters_json, point.keep_ratio, point.schedule


def runners_of(points: Iterable[Point]) -> list[Runner]:
    """Trials of one workload by their configuration, in the order in which these appear."""
    found: dict[Configuration, Runner] = {}
    for point in points:
        name = configuration(point)
        runner = found.setdefault(name, Runner(name))
        runner.points.setdefault(point.seed, []).append(point)
    return list(found.values())


def replayed(store: Store, sweep: str) -> dict[str, Race]:
    """The races of a stored sweep, workload by workload, as far as they went.

    Raises ValueError for a sweep that does not exist or was not raced.
    """
    search = store.spec(sweep).get("search", {})
    if search.get("strategy") != "race":
        raise ValueError(f"sweep {sweep!r} was not raced: its file has no search: race")
    objectives, sizes = store.objectives(sweep), search["examples"]
    lost, races = store.lost(sweep), {}
    for workload, points in store.rungs(sweep).items():
        outcomes = store.all_outcomes(point.trial for point in points)
        runners = runners_of(points)
        seeds = sorted({point.seed for point in points})
        for runner in runners:
            runner.lost |= {
                seed
                for seed in seeds
                if seed not in runner.points or (workload, runner.configuration, seed) in lost
            }
        chosen = (runners, seeds, sizes[workload], objectives[workload], outcomes)
        races[workload] = run(*chosen, Rules.of(search))
    return races


def _examples(point: Point) -> int:
    return int(point.metrics["num_examples"] or 0)


def _paired(
    alive: Sequence[Runner],
    seeds: Sequence[int],
    examples: int,
    objectives: Objectives,
    outcomes: Mapping[str, ExampleOutcomes],
) -> Paired | None:
    """The runners side by side, each with all it has seen; None where nobody is left."""
    chosen = [
        point
        for runner in alive
        for seed in seeds
        if seed not in runner.lost and (point := runner.at(seed, examples)) is not None
    ]
    return pair(chosen, outcomes, objectives) if chosen else None


def _places(paired: Paired, examples: int, total: int, rules: Rules) -> dict[Configuration, Place]:
    """Everybody's place; configurations without a seed or a real cost are out."""
    everybody = (*paired.left_out, *paired.configurations)
    found = {configuration(each): Place(examples, 0.0, "out", for_sure=True) for each in everybody}
    names = [configuration(each) for each in paired.configurations]
    members = competitors(paired)
    if not len(members):
        return found
    costs_PK = oriented_costs(paired, members)
    shared = _front(paired, examples)
    judged = shared if QUALITY in paired.objectives else _indifferent(shared)
    merit_PR = _merits(judged, members, used_up=examples >= total, rules=rules)
    hopeless_P = _hopeless(paired, members, costs_PK, total, rules.epsilon)
    at_once = examples >= total
    probability_P, alive_P = _eliminated(costs_PK, merit_PR, hopeless_P >= 0, at_once, rules)
    for row, index in enumerate(members):
        rival, sure = int(hopeless_P[row]), hopeless_P[row] >= 0
        if not sure:
            rival = _rival(row, costs_PK, merit_PR, alive_P) if not alive_P[row] else -1
        found[names[index]] = Place(
            examples,
            float(probability_P[row]),
            verdict_of(float(probability_P[row]), rules.confidence) if alive_P[row] else "out",
            names[members[rival]] if rival >= 0 else None,
            bool(sure),
        )
    return found


def _eliminated(
    costs_PK: Floats, merit_PR: Floats, hopeless_P: Flags, at_once: bool, rules: Rules
) -> tuple[Floats, Flags]:
    """Probability of being on the frontier, and who stays.

    The worst half of those who are out goes, then everybody is judged again: of many that are
    equally good none is likely to be the best, and yet they must not all go. ``at_once``, when
    nobody runs on, everybody is judged among all.
    """
    alive_P = ~hopeless_P
    probability_P = np.zeros(len(costs_PK))
    while alive_P.any():
        rows = np.flatnonzero(alive_P)
        on_PR = on_frontier(costs_PK[rows], merit_PR[rows], rules.epsilon)
        probability_P[rows] = on_PR.mean(axis=1)
        out = rows[[verdict_of(p, rules.confidence) == "out" for p in probability_P[rows]]]
        if not len(out):
            break
        worst = out[np.argsort(probability_P[out], kind="stable")]
        alive_P[worst if at_once else worst[: -(-len(out) // 2)]] = False
        if at_once:
            break
    return probability_P, alive_P


def _front(paired: Paired, examples: int) -> Paired:
    return dataclasses.replace(
        paired,
        outcomes_PSE=paired.outcomes_PSE[:, :, :examples],
        clusters_E=_renumbered(paired.clusters_E[:examples]),
    )


def _renumbered(clusters_E: Ints) -> Ints:
    return np.unique(clusters_E, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _indifferent(paired: Paired) -> Paired:
    return dataclasses.replace(paired, outcomes_PSE=np.zeros_like(paired.outcomes_PSE))


def _merits(paired: Paired, members: Ints, *, used_up: bool, rules: Rules) -> Floats:
    """Mean outcomes that there could be, turned so that more is better [P, R]."""
    if used_up:
        how = Bootstrap(random_seed=rules.random_seed, resamples=RESAMPLES)
        return paired.sign * Resampled(paired, how).means[members]
    values_PSE = paired.outcomes_PSE[members]
    num_examples, num_clusters = len(paired.clusters_E), int(paired.clusters_E.max()) + 1
    rng = np.random.default_rng((rules.random_seed, num_examples))
    weights_RC = rng.exponential(size=(RESAMPLES, num_clusters))
    draws = Draws(weights_RC[:, paired.clusters_E], None)
    sums_PR, totals_PR = weighted_sums(values_PSE, np.isfinite(values_PSE), draws)
    unit = values_PSE[0].size / num_clusters
    own_2PR = rng.gamma(OWN, unit, size=(2, *sums_PR.shape))
    worst, best = _ends(paired, values_PSE)
    sums_PR = sums_PR + worst * own_2PR[0] + best * own_2PR[1]
    return np.asarray(paired.sign * sums_PR / (totals_PR + own_2PR.sum(axis=0)))


def _ends(paired: Paired, values_PSE: Floats) -> tuple[float, float]:
    """Smallest and largest outcome: of a share 0 and 1, otherwise those usually seen."""
    if paired.direction == "maximize":
        return 0.0, 1.0
    low_P, high_P = np.nanmin(values_PSE, axis=(1, 2)), np.nanmax(values_PSE, axis=(1, 2))
    return float(np.median(low_P)), float(np.median(high_P))


def _hopeless(paired: Paired, members: Ints, costs_PK: Floats, total: int, epsilon: float) -> Ints:
    """Whose best possible quality is dominated, and by which member; -1 where by none."""
    values_PSE = paired.sign * paired.outcomes_PSE[members]
    best = 1.0 if paired.direction == "maximize" else 0.0
    known_PSE = np.isfinite(values_PSE)
    seen_P = known_PSE.sum(axis=(1, 2))
    whole = values_PSE.shape[1] * total
    reached_P = np.where(known_PSE, values_PSE, 0).sum(axis=(1, 2))
    possible_P = (reached_P + best * (whole - seen_P)) / whole
    found: Ints = np.full(len(members), -1, dtype=np.int64)
    if QUALITY not in paired.objectives:
        return found
    for rival in np.flatnonzero(seen_P == whole):
        cheaper_P = _cheaper(costs_PK, int(rival))
        found[cheaper_P & (seen_P < whole) & (possible_P <= possible_P[rival] + epsilon)] = rival
    return found


def _cheaper(costs_PK: Floats, rival: int) -> Flags:
    """Whom the rival undercuts: it costs less somewhere and nowhere more."""
    no_dearer = (costs_PK[rival] <= costs_PK).all(axis=1)
    return np.asarray(no_dearer & (costs_PK[rival] < costs_PK).any(axis=1))


def _rival(row: int, costs_PK: Floats, merit_PR: Floats, alive_P: Flags) -> int:
    """Of those that stay and cost no more, the best by quality; -1 where there is none."""
    no_dearer = alive_P & (costs_PK <= costs_PK[row]).all(axis=1)
    merit_P = np.where(no_dearer, merit_PR.mean(axis=1), -np.inf)
    return int(merit_P.argmax()) if no_dearer.any() else -1
