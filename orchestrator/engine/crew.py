"""The worker processes of a pool: started, kept count of, replaced."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from orchestrator.engine.breakdown import Breakdown
from orchestrator.engine.dispatch import Affinity, affinity
from orchestrator.engine.worker import Worker, thread_environment
from sweeps.timing import TimingResult, TimingSpec
from sweeps.trial import Head, TrialResult, TrialSpec

NODE_LABEL = "ray.io/node-id"
ROOM_SECONDS = 10.0
"""How long to wait for workers that make room."""
MAX_STILLBIRTHS = 3
"""Workers in a row that may die before they can take a trial, other than with their nodes."""
NODE_DIED = "its node has died"
"""Ray's words for it."""


@dataclass(frozen=True)
class Resources:
    """What one worker gets; fractions are allowed."""

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int | None = None
    """None: as many as the cluster has room for, and no more than there are trials."""

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} gpus" if self.gpus else ""
        return f"{self.cpus:g} cpus{gpus}"

    def room(self, total: Mapping[str, float]) -> int:
        """How many workers a node with so much holds; names are Ray's."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        return min(
            math.floor(total.get(name, 0.0) / amount + 1e-9)
            for name, amount in wanted.items()
            if amount
        )


@dataclass(slots=True)
class Job:
    """Trials that travel together, and the promise of their results."""

    specs: list[TrialSpec]
    ref: Any
    alone: bool = False
    """Whether nothing else may run on its devices."""

    def failures(self, breakdown: Breakdown) -> list[TrialResult]:
        """Results without numbers."""
        return [breakdown.of_trial(each) for each in self.specs]


@dataclass(slots=True)
class LaneJob:
    """A timing, which must have its device to itself."""

    specs: list[TimingSpec]
    ref: Any

    def failures(self, breakdown: Breakdown) -> list[TimingResult]:
        """Results without numbers."""
        return [breakdown.of_timing(each) for each in self.specs]


@dataclass(slots=True, eq=False)
class Seat:
    """One worker process and what it holds, the running job first."""

    actor: Any
    prepared: Any
    name: str | None = None
    """None until the worker can take trials."""
    devices: frozenset[str] = frozenset()
    """What it computes on; other seats may share it."""
    node: str = ""
    """Ray's id of its node."""
    jobs: deque[Job | LaneJob] = field(default_factory=deque)
    held: Affinity | None = None
    head_since: float = 0.0
    leaving: bool = False
    """Takes no more jobs, and ends with the last that it has."""

    @property
    def ref(self) -> Any:
        """What the worker will complete next, or None if it is idle."""
        if self.name is None:
            return self.prepared
        return self.jobs[0].ref if self.jobs else None

    @property
    def head_seconds(self) -> float:
        """How long the running job has run, as far as the driver can tell."""
        return time.monotonic() - self.head_since

    @property
    def device(self) -> str | None:
        """What it computes on, for people: node, and CPU or GPU."""
        host = (self.name or "").rpartition(":")[0]
        labels = (f"{host}/{device.partition('/')[2]}" for device in sorted(self.devices))
        return ", ".join(labels) or None

    def give(
        self,
        specs: list[TrialSpec],
        heads: Mapping[str, Head] | None = None,
        *,
        small_batches: bool = False,
        alone: bool = False,
    ) -> None:
        """Hand over a job; ``heads`` are results that its trials can go on from."""
        if not self.jobs:
            self.head_since = time.monotonic()
        ref = self.actor.run.remote(specs, heads, small_batches=small_batches, alone=alone)
        self.jobs.append(Job(specs, ref, alone))
        self.held = affinity(specs[0])

    def give_timing(self, spec: TimingSpec) -> None:
        """Hand over a timing to an idle worker."""
        assert not self.jobs
        self.head_since = time.monotonic()
        self.jobs.append(LaneJob([spec], self.actor.time.remote([spec])))
        self.held = affinity(spec.trial)

    def done(self) -> Job | LaneJob:
        """Remove the running job; the one behind it runs from now on."""
        self.head_since = time.monotonic()
        return self.jobs.popleft()


class Crew:
    """Seats for workers; one that is lost leaves its seat to a new one."""

    def __init__(
        self,
        runner: str,
        timer: str,
        resources: Resources,
        size: int,
        python: str | None = None,
    ) -> None:
        environment: dict[str, Any] = {"env_vars": thread_environment(resources.cpus)}
        if python is not None:
            environment["py_executable"] = python
        self._actors = ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            runtime_env=environment,
        )(Worker)
        self._functions = runner, timer
        self._stillbirths = 0
        self._resources = resources
        self._left_out: set[str] = set()
        self.seats = [self._seat() for _ in range(size)]

    @property
    def alive(self) -> list[Seat]:
        """Seats whose workers can take trials."""
        return [seat for seat in self.seats if seat.name is not None]

    @property
    def complete(self) -> bool:
        """Whether no seat waits for its worker."""
        return len(self.alive) == len(self.seats)

    @property
    def working(self) -> frozenset[str]:
        """Devices on which anything runs."""
        return frozenset().union(*(seat.devices for seat in self.seats if seat.jobs))

    @property
    def busy(self) -> bool:
        """Whether any worker holds a job."""
        return any(seat.jobs for seat in self.seats)

    @property
    def reserved(self) -> frozenset[str]:
        """Devices on which something runs alone."""
        jobs = ((seat, seat.jobs[0]) for seat in self.seats if seat.jobs)
        alone = (seat.devices for seat, job in jobs if isinstance(job, LaneJob) or job.alone)
        return frozenset().union(*alone)

    @property
    def room(self) -> float:
        """How many workers fit on the nodes that are not left out; without limit where all are."""
        if not self._left_out:
            return math.inf
        return sum(map(self._resources.room, nodes(self._left_out)))

    def leave_out(self, node: str) -> bool:
        """Start no more workers on a node; False if there is no room elsewhere, or it is out."""
        new = node not in self._left_out
        if new and any(map(self._resources.room, nodes(self._left_out | {node}))):
            self._left_out.add(node)
            return True
        return False

    def make_room(self, devices: frozenset[str]) -> None:
        """Have idle workers of these devices forget what they hold, and wait for it."""
        idle = [seat for seat in self.alive if seat.devices & devices and not seat.jobs]
        for seat in idle:
            seat.held = None
        asked = [seat.actor.make_room.remote() for seat in idle]
        ray.wait(asked, num_returns=len(asked), timeout=ROOM_SECONDS) if asked else None

    def welcome(self, seat: Seat) -> bool:
        """Note that a worker is ready; False if it died before and was replaced.

        Raises what importing the runner raised, or RuntimeError where workers keep dying.
        """
        try:
            seat.name, devices, seat.node = ray.get(seat.prepared)
            seat.devices = frozenset(devices)
        except RayActorError as error:
            self._stillbirths += NODE_DIED not in str(error)
            if self._stillbirths >= MAX_STILLBIRTHS:
                raise RuntimeError(f"workers die while they start: {error}") from error
            self.replace(seat)
            return False
        except RayTaskError as error:
            raise error.cause from error
        self._stillbirths = 0
        return True

    def replace(self, seat: Seat) -> None:
        """End a worker, whatever it does, and start another in its place unless it was leaving."""
        ray.kill(seat.actor)
        place = self.seats.index(seat)
        self.seats[place : place + 1] = [] if seat.leaving else [self._seat()]

    def resize(self, size: int) -> None:
        """Have ``size`` workers that stay. The surplus end once they hold nothing.

        Those that cannot take trials yet go first, and those that were leaving are the first to
        stay after all.
        """
        by_worth = sorted(self.seats, key=_worth, reverse=True)
        for place, seat in enumerate(by_worth):
            seat.leaving = place >= size
        self.seats += [self._seat() for _ in range(size - len(self.seats))]
        for seat in [seat for seat in self.seats if seat.leaving and not seat.jobs]:
            ray.kill(seat.actor)
            self.seats.remove(seat)

    def stop(self) -> None:
        """End all workers at once, and start no more."""
        for seat in self.seats:
            ray.kill(seat.actor)
        self.seats = []

    def _seat(self) -> Seat:
        elsewhere = {NODE_LABEL: f"!in({','.join(sorted(self._left_out))})"}
        options = {"label_selector": elsewhere} if self._left_out else {}
        actor = self._actors.options(**options).remote(*self._functions)
        return Seat(actor, actor.prepare.remote())


def _worth(seat: Seat) -> tuple[bool, bool, int]:
    """Whom to keep: the ready, those who were to stay, those with most to do."""
    return seat.name is not None, not seat.leaving, len(seat.jobs)


def crew_size(resources: Resources, num_trials: int) -> int:
    """How many workers to start.

    Raises ValueError if the connected cluster has no room for one worker, or not for as many as
    were asked for.
    """
    if resources.cpus <= 0 or resources.gpus < 0:
        raise ValueError(f"no worker can have {resources}: cpus must be above 0, gpus at least 0")
    totals = nodes()
    room = sum(resources.room(total) for total in totals)
    if room == 0:
        raise ValueError(
            f"a worker of {resources} fits on no node of the cluster; nodes have: "
            + "; ".join(_described(total) for total in totals)
        )
    if resources.workers is None:
        return min(room, num_trials)
    if not 1 <= resources.workers <= room:
        raise ValueError(
            f"{resources.workers} workers of {resources} were asked for; choices: 1 to {room}"
        )
    return min(resources.workers, num_trials)


def nodes(left_out: Set[str] = frozenset()) -> list[dict[str, float]]:
    """What each living node of the connected cluster has, by Ray's names: ``CPU``, ``GPU``."""
    alive = (node for node in ray.nodes() if node["Alive"])
    return [node["Resources"] for node in alive if node["NodeID"] not in left_out]


def _described(total: dict[str, float]) -> str:
    return f"{total.get('CPU', 0):g} cpus and {total.get('GPU', 0):g} gpus"
