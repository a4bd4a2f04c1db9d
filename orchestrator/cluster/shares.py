"""Sweeps that run on one cluster at a time share its workers by priority.

Each driver holds a lease with an arbiter, a small actor that any of them starts, and renews it
every second. The arbiter answers with a number of workers; the driver starts workers, or ends those
that are surplus once they have done what they hold. Nobody is interrupted, and nothing has to be
cleaned up: a driver that is killed stops renewing, and an arbiter that is lost is started anew and
knows everything again after one round of renewals.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayError

from orchestrator.engine.crew import Resources, nodes
from orchestrator.engine.staffing import Staffing, WholeCluster

ARBITER = "paretoken-shares"
NAMESPACE = "paretoken"
LEASE_SECONDS = 15.0
"""How long a driver that is silent keeps its workers' places."""
RENEW_SECONDS = 1.0
FIRST_ANSWER_SECONDS = 120.0
"""An arbiter's process takes seconds to start, on a busy machine many."""


@dataclass(frozen=True)
class Claim:
    """What a driver asks for."""

    driver: str
    weight: float
    """Above 0; of two sweeps that want everything, one of three times the weight gets three times
    the workers."""
    wanted: int
    """Workers that it could keep busy."""
    cpus: float
    gpus: float

    @property
    def resources(self) -> Resources:
        """What one of its workers takes."""
        return Resources(self.cpus, self.gpus)


def staffing(
    address: str | None, resources: Resources, weight: float
) -> AbstractContextManager[Staffing]:
    """A share of the cluster at ``address``; all of a private one, where ``address`` is None."""
    return nullcontext(WholeCluster(resources)) if address is None else Share(resources, weight)


def divide(claims: Sequence[Claim], totals: Iterable[Mapping[str, float]]) -> dict[str, int]:
    """How many workers each driver may have, by its name; what one does not want, others get.

    Workers are dealt out one by one, each to the claim that is furthest below its due: least
    dominant share (the larger of its fractions of all CPUs and of all GPUs) over weight, as in
    weighted dominant resource fairness (Ghodsi et al., NSDI 2011). Everyone who wants any gets a
    first one, the heaviest first, as long as there is room; ties go to the earlier claim. Workers
    that need no GPU are put on nodes without one while those have room.
    """
    free = [dict(total) for total in totals]
    whole = {name: sum(total.get(name, 0.0) for total in free) for name in ("CPU", "GPU")}
    dealt = {claim.driver: 0 for claim in claims}
    for claim in sorted(claims, key=lambda claim: -claim.weight):
        dealt[claim.driver] += claim.wanted > 0 and _place(claim.resources, free)
    hungry = [claim for claim in claims if dealt[claim.driver]]
    while hungry := [claim for claim in hungry if dealt[claim.driver] < claim.wanted]:
        poorest = min(hungry, key=lambda c: dealt[c.driver] * _dominant(c, whole) / c.weight)
        if _place(poorest.resources, free):
            dealt[poorest.driver] += 1
        else:
            hungry.remove(poorest)
    return dealt


def _place(worker: Resources, free: list[dict[str, float]]) -> bool:
    """Take a worker's resources from the first node that has them, GPUs spared where possible."""
    order = sorted(free, key=lambda node: node.get("GPU", 0.0)) if not worker.gpus else free
    for node in order:
        if worker.room(node):
            node["CPU"] = node.get("CPU", 0.0) - worker.cpus
            node["GPU"] = node.get("GPU", 0.0) - worker.gpus
            return True
    return False


def _dominant(claim: Claim, whole: Mapping[str, float]) -> float:
    """The larger fraction of the cluster that one worker takes."""
    wanted = {"CPU": claim.cpus, "GPU": claim.gpus}
    return max(amount / whole[name] for name, amount in wanted.items() if amount)


class Leases:
    """Claims that were renewed lately, in the order in which they first came."""

    def __init__(self, seconds: float = LEASE_SECONDS) -> None:
        self._seconds = seconds
        self._held: dict[str, tuple[Claim, float]] = {}

    def renew(self, claim: Claim, now: float) -> None:
        """Hold ``claim`` from ``now`` on, a clock that only grows; forget whoever fell silent."""
        self._held[claim.driver] = (claim, now)
        for driver, (_, renewed_at) in list(self._held.items()):
            if now - renewed_at > self._seconds:
                del self._held[driver]

    def release(self, driver: str) -> None:
        """Forget a driver."""
        self._held.pop(driver, None)

    @property
    def claims(self) -> list[Claim]:
        """Who shares."""
        return [claim for claim, _ in self._held.values()]


class Arbiter:
    """The leases as an actor; what crosses its border is plain, so that versions may differ."""

    def __init__(self) -> None:
        self._leases = Leases()

    def renew(self, claim: dict[str, Any]) -> int:
        """Workers for a driver, until it asks again."""
        own = Claim(**claim)
        self._leases.renew(own, time.monotonic())
        return divide(self._leases.claims, nodes())[own.driver]

    def release(self, driver: str) -> None:
        """A driver is done; with the last one the arbiter ends."""
        self._leases.release(driver)
        if not self._leases.claims:
            ray.actor.exit_actor()


class Share:
    """One sweep's part of a cluster that others use too; leaving the block gives it back."""

    def __init__(self, resources: Resources, weight: float) -> None:
        self._resources, self._weight = resources, weight
        self._whole = WholeCluster(resources)
        self._driver = uuid4().hex
        self._arbiter = _arbiter()
        self._answer: Any = None
        self._asked_at = -math.inf
        self._granted: int | None = None

    def workers(self, trials: int) -> int:
        """The newest answer; the first is waited for. Raises RuntimeError where no node is left."""
        self._listen()
        if self._answer is None and time.monotonic() - self._asked_at >= RENEW_SECONDS:
            self._ask(trials)
        if self._granted is None:
            self._wait(trials)
        assert self._granted is not None
        return min(self._granted, self._whole.workers(trials))

    def __enter__(self) -> Staffing:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RayError):
            ray.get(self._arbiter.release.remote(self._driver), timeout=RENEW_SECONDS)

    def _ask(self, trials: int) -> None:
        wanted = min(trials, self._resources.workers or trials)
        worker = {"cpus": self._resources.cpus, "gpus": self._resources.gpus}
        claim = Claim(self._driver, self._weight, wanted, **worker)
        self._answer = self._arbiter.renew.remote(asdict(claim))
        self._asked_at = time.monotonic()

    def _listen(self, timeout: float = 0.0) -> None:
        """Take an answer that is there; an arbiter that is gone is asked for anew."""
        if self._answer is None or not ray.wait([self._answer], timeout=timeout)[0]:
            return
        answer, self._answer = self._answer, None
        try:
            self._granted = ray.get(answer)
        except RayActorError:
            self._arbiter, self._asked_at = _arbiter(), -math.inf

    def _wait(self, trials: int) -> None:
        deadline = time.monotonic() + FIRST_ANSWER_SECONDS
        while self._granted is None:
            if self._answer is None:
                self._ask(trials)
            self._listen(timeout=1.0)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the actor {ARBITER} of the cluster does not answer")


def _arbiter() -> Any:
    """The one of this cluster, started by whoever comes first; it outlives its starter."""
    return (
        ray.remote(num_cpus=0, max_restarts=0)(Arbiter)
        .options(name=ARBITER, namespace=NAMESPACE, lifetime="detached", get_if_exists=True)
        .remote()
    )
