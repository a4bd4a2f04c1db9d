"""Run trials on warm Ray workers, each exactly once, then time them; record every result.

The driver holds all state. Workers have two jobs in flight where trials are short, so that none
waits for the driver; a job is one trial, or several where trials take milliseconds. A trial counts
as done only once the writer says that its result is durable; until then the driver keeps it.
Whatever a lost worker held goes back to the queue, so that a trial ends exactly once: measured, or
failed.

Timings come when no trial is left, in the *measurement lane*: one at a time on each device, while
the other workers of that device rest and MLflow is told nothing. What the driver does not command
is kept out by the device's lock where it is another sweep
(:mod:`orchestrator.engine.device`); the rest is seen by the timing itself
(:mod:`orchestrator.measurement.surroundings`).
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from methods.naming import counted
from orchestrator.engine.breakdown import Breakdown
from orchestrator.engine.crew import Crew, Job, LaneJob, Resources, Seat, crew_size
from orchestrator.engine.deaths import kind_of, reason_of
from orchestrator.engine.dispatch import TrialQueue
from orchestrator.engine.events import EventKind, OnEvent, PoolEvent, PoolReport
from orchestrator.engine.feed import Feed, NoFeed
from orchestrator.engine.interrupts import interrupts
from orchestrator.engine.lane import Lane
from orchestrator.engine.pace import Pace
from orchestrator.engine.remedies import MAX_STRIKES, Remedies
from orchestrator.engine.staffing import Staffing, WholeCluster
from orchestrator.engine.writer import SLOW_SECONDS, Recorder, Result
from sweeps.failures import DONE
from sweeps.timing import TimingResult, TimingSpec
from sweeps.trial import FailureKind, TrialResult, TrialSpec

RUN_TRIAL = "orchestrator.measurement.trial:run_trial"
RUN_TIMING = "orchestrator.measurement.timing:run_timing"
STORE_LEDGER = "orchestrator.engine.writer:StoreLedger"

TICK_SECONDS = 0.2
"""How often interrupts and deadlines are looked at when nothing happens."""
LATECOMER_SECONDS = 30.0
"""Workers that are not ready so long after the first one are not waited for."""


def run_pool(
    specs: Sequence[TrialSpec],
    url: str,
    *,
    resources: Resources,
    staffing: Staffing | None = None,
    python: str | None = None,
    runner: str = RUN_TRIAL,
    timings: Callable[[], Sequence[TimingSpec]] = tuple,
    timer: str = RUN_TIMING,
    ledger: str = STORE_LEDGER,
    trial_timeout_s: float = 3600.0,
    max_seconds: float = math.inf,
    on_event: OnEvent = lambda _: None,
    feed: Feed | None = None,
) -> PoolReport:
    """Run every spec on the connected Ray cluster and record every result at ``url``.

    ``timings`` is asked when every trial's result is durable: what to time then.
    ``runner``, ``timer`` and ``ledger`` name a function from TrialSpec to TrialResult, one from
    TimingSpec to TimingResult and a class that follows
    :class:`orchestrator.engine.writer.Ledger`, as ``module:attribute``, importable in the workers.
    ``staffing`` says how many workers to have while the run lasts; None: as many as there is room
    for on the nodes that come and go.
    ``python`` is the workers' interpreter, in an environment that has this package and the same
    release of Ray; None is that of the cluster.
    ``feed`` may add trials while the pool runs; it is asked whenever a result is durable, and which
    trials and timings others run meanwhile.
    ``on_event`` is called in this thread. A trial that runs longer than ``trial_timeout_s`` fails
    as ``timeout`` and costs its worker; one that takes down three workers fails as ``worker-died``;
    an exception that the runner lets out fails as ``bug``. After ``max_seconds`` no trial starts
    any more and none is timed, those that run are completed and recorded, and the rest stays open.
    A timing ends and fails as a trial does.

    SIGINT or SIGTERM ends the run early: results that are in are recorded, workers are ended and
    the report says ``interrupted``. A second signal is obeyed at once.

    Raises ValueError if the cluster has no room for a worker or a name names nothing, RuntimeError
    if workers keep dying, or the last node with room is gone and none comes, and
    :class:`~orchestrator.engine.writer.RecordingError` if the writer keeps dying or cannot record.
    """
    feed = feed or NoFeed()
    waiting = len({spec.id for spec in specs})
    waiting = max(waiting, feed.width) if waiting else len(timings())
    if not waiting:
        return PoolReport(workers=0)
    size = crew_size(resources, waiting)
    staffing = staffing or WholeCluster(resources)
    crew = Crew(runner, timer, resources, min(size, staffing.workers(waiting)), python)
    recorder = Recorder(ledger, url)
    pool = _Pool(
        TrialQueue(specs, feed.claim),
        timings,
        crew,
        recorder,
        staffing,
        trial_timeout_s,
        max_seconds,
        feed,
        on_event,
    )
    return pool.run()


class _Pool:
    """State of one run; everything happens in the calling thread."""

    def __init__(
        self,
        queue: TrialQueue,
        timings: Callable[[], Sequence[TimingSpec]],
        crew: Crew,
        recorder: Recorder,
        staffing: Staffing,
        trial_timeout_s: float,
        max_seconds: float,
        feed: Feed,
        on_event: OnEvent,
    ) -> None:
        self._queue, self._crew, self._recorder = queue, crew, recorder
        self._timings, self._staffing, self._feed = timings, staffing, feed
        self._on_event = on_event
        self._interrupted = threading.Event()
        self._lane = Lane()
        self._timeout = trial_timeout_s
        self._last_start = time.monotonic() + max_seconds
        self._report = PoolReport(workers=len(crew.seats))
        self._strikes: Counter[str] = Counter()
        self._remedies = Remedies()
        self._pace = Pace()
        self._first_alive_at = math.inf
        self._counted_at = time.monotonic()
        self._waits = False
        self._told_at = -math.inf

    def run(self) -> PoolReport:
        try:
            with interrupts() as self._interrupted:
                self._report.start_seconds = _timed(self._start)
                self._report.seconds = _timed(self._work)
                self._crew.stop()
                self._report.mirror_seconds = _timed(self._catch_up)
        finally:
            self._crew.stop()
            self._recorder.stop()
        return self._completed()

    def _start(self) -> None:
        """Wait for the writer and for all workers, so that the clock runs from the first trial.

        Not for those whose place is still taken by another sweep.
        """
        self._recorder.prepare()
        while not self._interrupted.is_set() and not self._is_ready():
            self._step()
            self._restaff(self._open)

    def _is_ready(self) -> bool:
        alive, now = len(self._crew.alive), time.monotonic()
        self._first_alive_at = min(self._first_alive_at, now if alive else math.inf)
        late = now - self._first_alive_at > LATECOMER_SECONDS
        return (
            self._recorder.mirror_is_open and alive > 0 and (late or alive == len(self._crew.seats))
        )

    def _work(self) -> None:
        self._report.worker_seconds, self._counted_at = 0.0, time.monotonic()
        self._run_trials()
        self._report.lane_seconds = _timed(self._run_timings)
        if self._interrupted.is_set():
            self._tell(EventKind.STOPPING, detail="no trial starts any more")
            self._collect()
            self._crew.stop()
        self._settle()

    def _run_trials(self) -> None:
        while not self._interrupted.is_set() and self._goes_on:
            if self._may_start:
                self._hand_out()
            self._recorder.mirror_in_background()
            self._step()
            self._end_overdue()
            self._count_workers()
            self._leave_out()
            self._restaff(self._open)
        self._settle()
        self._count_workers()

    def _run_timings(self) -> None:
        """One timing at a time on each device, and nothing besides."""
        if self._interrupted.is_set():
            return
        timings = self._timings() if self._in_time else ()
        self._lane = Lane(timings, self._feed.claim_timing)
        if len(self._lane):
            self._tell(EventKind.LANE_OPENED, timings=len(self._lane))
        while not self._interrupted.is_set() and (self._may_time or self._crew.busy):
            if self._may_time and self._crew.complete and self._recorder.quiet:
                self._open_lane()
            self._step()
            self._end_overdue()
            self._restaff(most=1)  # a worker that starts now would disturb the others

    def _open_lane(self) -> None:
        idle = [seat for seat in self._crew.alive if not seat.jobs and not seat.leaving]
        for seat, spec in self._lane.assign(idle, self._crew.working):
            seat.give_timing(spec)

    def _settle(self) -> None:
        while self._recorder.unrecorded:
            self._step()

    def _restaff(self, most: int) -> None:
        """Follow what the staffing says; none beyond ``most`` is started that is not there yet."""
        allowed = int(min(self._staffing.workers(self._open), self._crew.room))
        self._crew.resize(min(allowed, max(most, len(self._crew.seats))))
        self._report.workers = max(self._report.workers, len(self._crew.seats))
        if not self._crew.seats and self._open and not self._waits:
            self._tell(EventKind.WAITING, detail="waiting for a node, or for other sweeps")
        self._waits = not self._crew.seats

    def _count_workers(self) -> None:
        now = time.monotonic()
        self._report.worker_seconds += len(self._crew.seats) * max(0.0, now - self._counted_at)
        self._counted_at = now

    @property
    def _open(self) -> int:
        """Trials and timings that wait or run."""
        running = sum(len(job.specs) for seat in self._crew.seats for job in seat.jobs)
        return len(self._queue) + len(self._lane) + running

    @property
    def _may_time(self) -> bool:
        return len(self._lane) > 0 and self._in_time

    @property
    def _goes_on(self) -> bool:
        """Whether something runs or may start, or a durable result may bring more."""
        return self._may_start or self._crew.busy or self._recorder.unrecorded > 0

    @property
    def _in_time(self) -> bool:
        return time.monotonic() < self._last_start

    @property
    def _may_start(self) -> bool:
        return len(self._queue) > 0 and self._in_time

    def _catch_up(self) -> None:
        while not self._interrupted.is_set() and self._recorder.mirror():
            self._step()

    def _step(self) -> None:
        """Wait until something happens, and see to it."""
        seats = {seat.ref: seat for seat in self._crew.seats if seat.ref is not None}
        refs = [*seats, *self._recorder.refs]
        if not refs:
            time.sleep(TICK_SECONDS)
            return
        ready, _ = ray.wait(refs, num_returns=1, timeout=TICK_SECONDS)
        self._tell_of_slow_recording()
        for ref in ready:
            if ref in seats:
                self._attend(seats[ref])
            else:
                self._acknowledge(ref)

    def _tell_of_slow_recording(self) -> None:
        """Now and then, while the database does not take results."""
        seconds, now = self._recorder.overdue_seconds, time.monotonic()
        if seconds and now - self._told_at > SLOW_SECONDS:
            self._told_at = now
            waiting = counted(self._recorder.unrecorded, "result")
            detail = f"the database has not taken {waiting} for {seconds:.0f} s"
            self._tell(EventKind.WAITING, detail=detail)

    def _attend(self, seat: Seat) -> None:
        if seat.name is not None:
            self._complete(seat)
        elif self._crew.welcome(seat):
            self._tell(EventKind.WORKER_STARTED, detail=f"worker {seat.name} is ready")

    def _acknowledge(self, ref: Any) -> None:
        mirrored = self._recorder.mirrored
        for result in self._recorder.settle(ref):
            if isinstance(result, TimingResult):
                self._report.count_timing(result)
                self._tell(EventKind.TIMED, result.trial_id, timing=result)
            else:
                self._report.count(result)
                if result.remedy is not None:
                    continue
                self._tell(EventKind.RECORDED, result.trial_id, result)
                self._follow(result)
        if self._recorder.mirrored > mirrored:
            detail = f"{self._recorder.mirrored - mirrored} copied to MLflow"
            self._tell(EventKind.MIRRORED, detail=detail)

    def _follow(self, result: TrialResult) -> None:
        """Queue what a durable result makes the feed ask for."""
        if not self._interrupted.is_set():
            self._queue.add(self._feed.after(result))

    def _hand_out(self) -> None:
        """Give every idle worker a job, then one to wait behind it."""
        seats = [seat for seat in self._crew.alive if not seat.leaving]
        for seat in seats:
            if not seat.jobs and not seat.devices & self._crew.reserved:
                suspect = self._queue.take_suspect(partial(self._fits, seat))
                self._give(seat, suspect or self._take_for(seat))
        for seat in seats:
            if len(seat.jobs) == 1 and self._may_wait_behind(seat.jobs[0]):
                self._give(seat, self._take_for(seat))

    def _take_for(self, seat: Seat) -> list[TrialSpec]:
        others = [other.held for other in self._crew.seats if other is not seat]
        waiting, workers = len(self._queue), len(self._crew.seats)
        size, horizon = self._pace.job_size(waiting, workers), self._pace.horizon(waiting, workers)
        return self._queue.take(seat.held, others, size, horizon)

    def _give(self, seat: Seat, specs: list[TrialSpec]) -> None:
        specs = list(self._feed.due(specs))
        if specs:
            heads = self._feed.heads(specs)
            small, alone = (
                any(ask(spec.id) for spec in specs)
                for ask in (self._remedies.small_batches, self._remedies.alone)
            )
            if alone:
                self._crew.make_room(seat.devices)
            seat.give(specs, heads, small_batches=small, alone=alone)
        for spec in specs:
            self._tell(EventKind.STARTED, spec.id)

    def _fits(self, seat: Seat, spec: TrialSpec) -> bool:
        """Whether a trial that was put back may run there now, as its remedy wants it."""
        if self._remedies.alone(spec.id) and seat.devices & self._crew.working:
            return False
        if not self._remedies.avoids(spec.id, seat.node):
            return True
        others = (each for each in self._crew.alive if not each.leaving)
        return all(self._remedies.avoids(spec.id, each.node) for each in others)

    def _may_wait_behind(self, running: Job | LaneJob) -> bool:
        """Not when the rest would leave workers idle, and not behind a suspect."""
        enough = len(self._queue) >= len(self._crew.seats)
        suspect = isinstance(running, LaneJob) or self._queue.is_suspect(running.specs[0])
        return self._pace.prefetches and enough and not suspect

    def _complete(self, seat: Seat) -> None:
        """Take the results of a job, or find out why there are none."""
        try:
            results: list[Result] = ray.get(seat.jobs[0].ref)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error, TaskCancelledError):
                self._fail(seat, FailureKind.BUG, f"has no result: {error}")
            else:
                self._bury(seat, error)
        else:
            self._take(seat, seat.done(), results)
            if any(result.failure is FailureKind.DEVICE_FAULT for result in results):
                self._replace(seat, "its device is at fault")

    def _take(self, seat: Seat, job: Job | LaneJob, results: Sequence[Result]) -> None:
        """Record what came of a job's trials, in their order; where a remedy is left, try it."""
        specs: Sequence[TrialSpec | TimingSpec] = job.specs
        for spec, result in zip(specs, results, strict=True):
            if isinstance(spec, TimingSpec) or isinstance(result, TimingResult):
                self._recorder.add(result)
                continue
            remedy = self._remedies.after(spec, result, seat.node)
            place = result.device or seat.device
            self._recorder.add(replace(result, remedy=remedy, device=place))
            if remedy is None:
                self._pace.took(result.seconds)
                continue
            self._queue.put_back([spec])
            self._report.requeued += 1
            self._tell(EventKind.REQUEUED, spec.id, detail=f"{result.failure}: {DONE[remedy]}")

    def _bury(self, seat: Seat, error: RayError) -> None:
        """A worker is gone: its running job is the suspect, what waited behind is not."""
        reason = reason_of(error)
        suspects = seat.jobs[0].specs
        if len(suspects) == 1:
            self._strikes[suspects[0].id] += 1
            struck = self._strikes[suspects[0].id]
            last = struck >= MAX_STRIKES
            sentence = f"took down {struck} workers, the last like this: {reason}"
            if last or isinstance(seat.jobs[0], Job):
                text = sentence if last else f"took its worker down: {reason}"
                self._fail(seat, kind_of(reason), text)
        self._replace(seat, reason)

    def _end_overdue(self) -> None:
        """End workers whose running job has used up its time."""
        for seat in self._crew.alive:
            if seat.jobs and seat.head_seconds > self._timeout:
                reason = f"ran longer than {self._timeout:g} s"
                if len(seat.jobs[0].specs) == 1:
                    self._fail(seat, FailureKind.TIMEOUT, reason)
                self._replace(seat, reason)

    def _fail(self, seat: Seat, kind: FailureKind, error: str) -> None:
        """End the running job's trials without numbers."""
        breakdown = Breakdown(kind, error, seat.head_seconds, seat.name or "")
        job = seat.done()
        self._take(seat, job, job.failures(breakdown))

    def _leave_out(self) -> None:
        """Work no longer on nodes that spoil everything."""
        for node in self._remedies.faulty_nodes:
            if self._crew.leave_out(node):
                for seat in [each for each in self._crew.seats if each.node == node]:
                    self._replace(seat, "its node is left out: workers keep dying there")

    def _replace(self, seat: Seat, reason: str) -> None:
        """End a worker, start another, and queue again what it still held."""
        held = [spec for job in seat.jobs if isinstance(job, Job) for spec in job.specs]
        self._queue.put_back(held)
        for job in seat.jobs:
            if isinstance(job, LaneJob):
                self._lane.put_back(job.specs)
        self._crew.replace(seat)
        self._report.workers_lost += 1
        self._report.requeued += len(held)
        self._tell(EventKind.WORKER_ENDED, detail=f"worker {seat.name} ended: {reason}")
        for spec in held:
            self._tell(EventKind.REQUEUED, spec.id, detail=reason)

    def _collect(self) -> None:
        """Take what workers have finished, and nothing they have not."""
        for seat in self._crew.alive:
            while seat.jobs and ray.wait([seat.ref], timeout=0)[0]:
                self._complete(seat)

    def _completed(self) -> PoolReport:
        self._report.interrupted = self._interrupted.is_set()
        self._report.writers_lost = self._recorder.restarts
        self._report.mirrored = self._recorder.mirrored
        self._report.mirror_error = self._recorder.mirror_error
        return self._report

    def _tell(
        self,
        kind: EventKind,
        trial_id: str | None = None,
        result: TrialResult | None = None,
        detail: str = "",
        **timing: Any,
    ) -> None:
        recorder = self._recorder
        self._on_event(
            PoolEvent(
                kind,
                len(self._crew.alive),
                trial_id,
                result,
                detail,
                queued=len(self._queue),
                unrecorded=recorder.unrecorded,
                mirrored=recorder.mirrored,
                **timing,
            )
        )


def _timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
