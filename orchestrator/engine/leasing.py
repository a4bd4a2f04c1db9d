"""A driver's side of :mod:`store.sql.leases`: take before measuring, live on, wait for the others.

Drivers that share a store take what their workers will soon run, and leave the rest to whoever has
a worker for it first. What another driver holds is waited for at the end. Its results are taken
over when they are in; what it gave back, or left behind when it died, is measured here.

A thread keeps the leases while the driver lives, whatever its other threads wait for. A driver that
was stopped for so long that others took its leases learns it from the next renewal, takes back what
is still free, and drops the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from sqlalchemy.exc import DBAPIError, IntegrityError

from orchestrator.engine import processes
from orchestrator.measurement.provenance import process_name
from store.database import OUTAGE_SECONDS
from store.repository import Store
from store.sql.leases import THE_TRIAL, Leases, Partner, Work
from sweeps.timing import TimingSpec
from sweeps.trial import TrialResult, TrialSpec, TrialState

LEASE_SECONDS = 30.0
"""How long a driver that cannot be looked at is waited for when its beat stands still."""
RENEW_SECONDS = 4.0
NOTE_SECONDS = 0.25
"""How soon the store knows what workers were given."""
LOOK_SECONDS = 1.0
"""How often waiting looks at what the others have done."""

_LOG = logging.getLogger("paretoken.engine")


class Watch:
    """Tells drivers that are silent from those that are alive, by a clock of our own."""

    def __init__(self, seconds: float = LEASE_SECONDS) -> None:
        self._seconds = seconds
        self._looked_at: float | None = None
        self._seen: dict[str, tuple[int, float]] = {}
        """By driver: its beat, and how long it has stood still."""

    def silent(self, partners: Iterable[Partner], now: float) -> list[Partner]:
        """Those whose beat has stood still for too long; ``now`` is a clock that only grows.

        Time between looks counts as :data:`RENEW_SECONDS` at most: when this process, or the
        database, was away for long, so may have been the others.
        """
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, RENEW_SECONDS)
        self._looked_at = now
        before, self._seen = self._seen, {}
        for partner in partners:
            beat, still = before.get(partner.id, (partner.beat, -passed))
            still = still + passed if beat == partner.beat else 0.0
            self._seen[partner.id] = partner.beat, still
        return [each for each in partners if self._seen[each.id][1] >= self._seconds]


@dataclass
class Dead:
    """What drivers that died have left."""

    drivers: list[str] = field(default_factory=list)
    in_flight: set[str] = field(default_factory=set)
    """Trials that their workers had begun and not ended."""

    def __add__(self, other: Dead) -> Dead:
        return Dead(self.drivers + other.drivers, self.in_flight | other.in_flight)


@dataclass
class News:
    """What a look at the other drivers brought."""

    results: list[TrialResult] = field(default_factory=list)
    """Of trials that were waited for."""
    ours: list[TrialSpec] = field(default_factory=list)
    """Trials that were waited for and are now ours to run."""
    dead: Dead = field(default_factory=Dead)


class Leasing:
    """The leases of one run; known to others inside the block, given back at its end."""

    def __init__(self, store: Store, sweep: str) -> None:
        self._store, self._leases = store, Leases(store.url, OUTAGE_SECONDS)
        self._pulse = Leases(store.url)
        place, process = processes.place(), processes.process()
        self._me = Partner(uuid4().hex, sweep, process_name(), place, process)
        self._watch = Watch()
        self._lock = threading.Lock()
        self._held: set[Work] = set()
        self._begun: set[Work] = set()
        self._dropped: set[str] = set()
        self._lost: set[str] = set()
        self._settled: set[str] = set()
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="leases", daemon=True)
        self._specs: dict[str, TrialSpec] = {}
        self.waiting: dict[str, TrialSpec] = {}
        """Trials that other drivers hold."""

    @property
    def driver(self) -> str:
        """Id of this driver in the store."""
        return self._me.id

    def __enter__(self) -> Leasing:
        self._since = self._leases.last_attempt()
        self._leases.enter(self._me)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._keeper.join(RENEW_SECONDS)
        with suppress(DBAPIError):  # then others see that this process has ended
            self._pulse.leave(self._me.id)
        self._pulse.close()
        self._leases.close()

    def clear_up(self) -> Dead:
        """End drivers that certainly died, on this machine."""
        return self._bury([each for each in self._others() if _is_dead(each)])

    def outwait(self) -> Dead:
        """End the drivers that run another version of this sweep and are silent.

        Returns when one was seen alive or none is left; a little after :data:`LEASE_SECONDS` at the
        latest.
        """
        dead, first = Dead(), self._rivals()
        _LOG.warning(
            "another version of sweep %r is being run by %s; waiting %.0f s for a sign of life",
            self._me.sweep,
            ", ".join(sorted(each.name for each in first)),
            LEASE_SECONDS,
        )
        left = first
        while left and left <= first:
            dead += self._bury_silent()
            time.sleep(LOOK_SECONDS)
            left = self._rivals()
        return dead

    def mend_mirror(self) -> int:
        """MLflow runs that nobody finishes unless this run does."""
        others = {partner.sweep for partner in self._others()}
        behind = self._leases.mend_mirror(self._me.sweep, others)
        return 0 if others else behind

    def free(self, specs: Sequence[TrialSpec]) -> list[TrialSpec]:
        """Those that nobody else holds at the moment; the others are waited for."""
        held = {trial for trial, _ in self.elsewhere((spec.id, THE_TRIAL) for spec in specs)}
        self.waiting |= {spec.id: spec for spec in specs if spec.id in held}
        return [spec for spec in specs if spec.id not in held]

    def take(self, specs: Sequence[TrialSpec]) -> list[TrialSpec]:
        """Those that are ours to run; the others are waited for."""
        if not specs:
            return []
        by_id = {spec.id: spec for spec in specs}
        mine = {trial for trial, _ in self._take((trial, THE_TRIAL) for trial in by_id)}
        # Somebody may have run it and left between our look at the store and our lease.
        mine -= self._leases.ended(mine, self._since).keys()
        with self._lock:
            self._specs |= {trial: by_id[trial] for trial in mine}
            self._dropped -= mine
        self.waiting |= {trial: spec for trial, spec in by_id.items() if trial not in mine}
        return [spec for trial, spec in by_id.items() if trial in mine]

    def take_timing(self, spec: TimingSpec) -> bool:
        """Whether it is ours to take."""
        return bool(self._take([(spec.trial.id, spec.batch)]))

    def elsewhere(self, work: Iterable[Work]) -> set[Work]:
        """Those that other drivers hold."""
        holders = self._leases.holders(work)
        return {each for each, driver in holders.items() if driver != self._me.id}

    def begin(self, trial_id: str) -> None:
        """Note, for whoever comes after us, that a worker was given this trial."""
        with self._lock:
            self._begun.add((trial_id, THE_TRIAL))

    def still_ours(self, specs: Sequence[TrialSpec]) -> list[TrialSpec]:
        """Without those whose lease was lost meanwhile."""
        with self._lock:
            return [spec for spec in specs if spec.id not in self._dropped]

    def settle(self, trial_id: str) -> None:
        """Note that this driver has recorded a result, whoever holds the lease by now."""
        self.waiting.pop(trial_id, None)
        with self._lock:
            self._lost.discard(trial_id)
            self._settled.add(trial_id)

    def look(self) -> News:
        """See what has become of the trials that are waited for."""
        with self._lock:
            # A lost one that had ended when it was taken was never ours to run.
            ours = self._lost & self._specs.keys()
            self.waiting |= {trial: self._specs[trial] for trial in ours}
            self._lost.clear()
        news = News(dead=self._bury_silent())
        for trial in self._leases.ended(self.waiting, self._since):
            del self.waiting[trial]
            news.results.append(self._result(trial))
        held = self._leases.holders((trial, THE_TRIAL) for trial in self.waiting)
        free = [spec for trial, spec in self.waiting.items() if (trial, THE_TRIAL) not in held]
        news.ours = self.take(free)
        for spec in news.ours:
            del self.waiting[spec.id]
        return news

    def awaited(self, work: Iterable[Work]) -> str:
        """Who holds what is waited for, in a few words."""
        names = {partner.id: partner.name for partner in self._others()}
        counts = Counter(names.get(each, "") for each in self._leases.holders(work).values())
        return ", ".join(sorted(f"{count} by {name}" for name, count in counts.items() if name))

    def _others(self) -> list[Partner]:
        return [each for each in self._leases.partners() if each.id != self._me.id]

    def _rivals(self) -> set[Partner]:
        return {each for each in self._others() if each.sweep == self._me.sweep}

    def _bury_silent(self) -> Dead:
        others = self._others()
        silent = self._watch.silent(others, time.monotonic())
        return self._bury([each for each in others if each in silent or _is_dead(each)])

    def _bury(self, gone: Iterable[Partner]) -> Dead:
        dead = Dead()
        for partner in gone:
            in_flight = self._leases.bury(partner)
            if in_flight is not None:
                dead.drivers.append(partner.name)
                dead.in_flight.update(in_flight)
        return dead

    def _result(self, trial_id: str) -> TrialResult:
        """What another driver has measured."""
        last = self._store.attempt(trial_id)
        finished = last.state is TrialState.FINISHED
        return TrialResult(
            trial_id=trial_id,
            state=last.state,
            started_at=last.started_at,
            seconds=last.seconds,
            worker=last.worker,
            metrics=self._store.metrics(trial_id) if finished else None,
            failure=last.failure,
            error=last.error,
        )

    def _take(self, work: Iterable[Work]) -> set[Work]:
        wanted = set(work)
        if not wanted:
            return set()
        try:
            mine = self._leases.take(self._me.id, wanted)
        except IntegrityError:  # buried, and the keeper has not noticed: a lease needs its driver
            self._enter_again(self._leases)
            mine = self._leases.take(self._me.id, wanted)
        with self._lock:
            self._held |= mine
        return mine

    def _keep(self) -> None:
        """Run by the thread; a database that is away is asked again."""
        renewed_at = time.monotonic()
        while not self._ending.wait(NOTE_SECONDS):
            with self._lock:
                begun = set(self._begun)
            if begun or time.monotonic() - renewed_at >= RENEW_SECONDS:
                with suppress(DBAPIError):
                    self._renew(begun)
                    renewed_at = time.monotonic()

    def _renew(self, begun: set[Work]) -> None:
        if not self._pulse.renew(self._me.id, begun) and not self._ending.is_set():
            self._enter_again(self._pulse)
        with self._lock:
            self._begun -= begun

    def _enter_again(self, leases: Leases) -> None:
        """Others took us for dead: take back what they have left."""
        leases.enter(self._me)
        with self._lock:
            held = set(self._held)
        mine = leases.take(self._me.id, held)
        with self._lock:
            self._held -= held - mine
            lost = {trial for trial, batch in held - mine if batch == THE_TRIAL}
            self._dropped |= lost
            self._lost |= lost - self._settled


def _is_dead(partner: Partner) -> bool:
    return processes.has_ended(partner.place, partner.process)
