"""The one process that writes results, and the driver's side of it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.engine.worker import named
from sweeps.timing import TimingResult
from sweeps.trial import TrialResult

Result = TrialResult | TimingResult

MIRROR_CHUNK = 4
"""Trials mirrored in one call: about a quarter of a second's work."""
MAX_REFUSALS = 3
"""Times in a row that results may be refused before recording is given up."""
DYING_SECONDS = 120.0
"""How long writers may die one after the other before recording is given up, none of them getting
anything done. Not how many: whoever kills them may be quicker than they start."""
SLOW_SECONDS = 5.0
"""Recording that takes longer is worth a word."""
MIRROR_AGAIN_SECONDS = 30.0
"""How long MLflow is left alone after it refused."""


class RecordingError(OSError):
    """Results cannot be made durable; those that are recorded stay, the others are run again."""


class Ledger(Protocol):
    """Where results become durable. Recording a result twice changes nothing."""

    def record(self, results: Sequence[Result]) -> None:
        """Durable when it returns."""
        ...

    def mirror(self, limit: int) -> int:
        """Copy up to ``limit`` recorded trials to MLflow; returns how many were copied."""
        ...


class StoreLedger:
    """The store and its MLflow mirror."""

    def __init__(self, url: str) -> None:
        from store.database import OUTAGE_SECONDS, patiently
        from store.mirror.mlflow_mirror import MlflowMirror
        from store.repository import Store
        from store.url import masked

        self._store = Store(url, OUTAGE_SECONDS)
        patiently(self._store.prepare, OUTAGE_SECONDS, masked(url))
        self._mirror = MlflowMirror(url, OUTAGE_SECONDS)

    def record(self, results: Sequence[Result]) -> None:
        """One transaction for all."""
        self._store.record(results)

    def mirror(self, limit: int) -> int:
        """Drain the outbox."""
        return self._mirror.drain(limit)


class Writer:
    """Runs as an actor, a thread for each of its duties: recording never queues behind MLflow."""

    def __init__(self, ledger: str, url: str) -> None:
        self._name, self._url = ledger, url

    def prepare(self) -> None:
        """Open the databases; their first migrations take seconds."""
        assert self._ledger

    def record(self, results: Sequence[Result]) -> None:
        """Durable when it returns."""
        self._ledger.record(results)

    def mirror(self, limit: int) -> int:
        """Copy recorded trials to MLflow; returns how many."""
        return self._ledger.mirror(limit)

    def mirror_in_background(self, limit: int) -> int:
        """The same, with what the workers leave of the CPU; the thread stays at that."""
        _yield_cpu()
        return self._ledger.mirror(limit)

    @cached_property
    def _ledger(self) -> Ledger:
        ledger: Ledger = named(self._name)(self._url)
        return ledger


def _yield_cpu() -> None:
    """Run this thread only where a CPU would idle."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Recorder:
    """Hands results to the writer and keeps them until they are durable.

    While one batch is on its way the next gathers, so that a slow disk makes batches larger and the
    pool no slower. A writer that dies is started again and given the same batch.
    """

    def __init__(self, ledger: str, url: str) -> None:
        self._arguments = (ledger, url)
        self._waiting: list[Result] = []
        self._sent: list[Result] = []
        self._ack: Any = None
        self._mirroring: Any = None
        self._refusals = 0
        self._dying_since: float | None = None
        self._sent_at = 0.0
        self._mirror_behind = True
        self._mirror_from = -math.inf
        self.mirror_is_open = False
        """Whether the first chunk went through, or failed: MLflow's tables take seconds to make."""
        self.mirrored = 0
        self.mirror_error: str | None = None
        self.restarts = 0
        self._start()

    @property
    def unrecorded(self) -> int:
        """Results that are not durable yet."""
        return len(self._waiting) + len(self._sent)

    @property
    def overdue_seconds(self) -> float:
        """How long the writer has been at its batch, if that is too long; else 0."""
        seconds = time.monotonic() - self._sent_at if self._ack is not None else 0.0
        return seconds if seconds > SLOW_SECONDS else 0.0

    @property
    def quiet(self) -> bool:
        """Whether the writer does nothing at the moment."""
        return self._ack is None and self._mirroring is None

    @property
    def refs(self) -> list[Any]:
        """What to wait for; give what is ready to :meth:`settle`."""
        return [ref for ref in (self._ack, self._mirroring) if ref is not None]

    def prepare(self) -> None:
        """Wait until the results can be recorded. Raises what opening the ledger raised."""
        try:
            ray.get(self._opened)
        except RayTaskError as error:
            raise error.cause from error
        self.mirror()

    def add(self, result: Result) -> None:
        """Take a result."""
        self._waiting.append(result)
        self._send()

    def settle(self, ref: Any) -> list[Result]:
        """Results that became durable with ``ref``, one of :attr:`refs`.

        Raises RecordingError from the cause when recording keeps failing.
        """
        if ref == self._ack:
            return self._settle_record()
        if ref == self._mirroring:
            self._settle_mirror()
        return []

    def mirror(self) -> bool:
        """Have the next chunk mirrored, one at a time; False if there is nothing left to copy."""
        return self._mirror(self._actor.mirror.options(concurrency_group="mirror"))

    def mirror_in_background(self) -> bool:
        """The same, out of the workers' way."""
        background = self._actor.mirror_in_background.options(concurrency_group="background")
        return self._mirror(background)

    def stop(self) -> None:
        """End the writer."""
        ray.kill(self._actor)

    def _mirror(self, call: Any) -> bool:
        due = self._mirror_behind and time.monotonic() >= self._mirror_from
        if self._mirroring is None and due:
            self._mirror_behind = False
            self._mirroring = call.remote(MIRROR_CHUNK)
        return self._mirroring is not None

    def _start(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        threads = {"mirror": 1, "background": 1}
        remote = ray.remote(concurrency_groups=threads, max_restarts=0, num_cpus=0)(Writer)
        self._actor = remote.options(scheduling_strategy=here).remote(*self._arguments)
        self._opened = self._actor.prepare.remote()
        self._ack = self._mirroring = None
        self._mirror_behind = True

    def _send(self) -> None:
        if self._ack is None and (self._sent or self._waiting):
            if not self._sent:
                self._sent, self._waiting = self._waiting, []
            self._ack = self._actor.record.remote(self._sent)
            self._sent_at = time.monotonic()

    def _settle_record(self) -> list[Result]:
        ack, self._ack = self._ack, None
        try:
            ray.get(ack)
        except RayError as error:
            self._recover(error)
            return []
        durable, self._sent = self._sent, []
        self._refusals, self._dying_since = 0, None
        self._mirror_behind = True
        self._send()
        return durable

    def _recover(self, error: RayError) -> None:
        if self._is_hopeless(died=isinstance(error, RayActorError)):
            raise RecordingError(f"results cannot be recorded: {_cause(error)}") from error
        self.restarts += 1
        ray.kill(self._actor)
        self._start()
        self._send()

    def _is_hopeless(self, *, died: bool) -> bool:
        """Count one more writer that died, or one more refusal of one that lives."""
        now = time.monotonic()
        if died and self._dying_since is None:
            self._dying_since = now
        self._refusals += not died
        dying = 0.0 if self._dying_since is None else now - self._dying_since
        return self._refusals >= MAX_REFUSALS or dying > DYING_SECONDS

    def _settle_mirror(self) -> None:
        mirroring, self._mirroring, self.mirror_is_open = self._mirroring, None, True
        try:
            copied = ray.get(mirroring)
        except RayActorError as error:
            self._recover(error)
        except RayTaskError as error:
            self.mirror_error = f"{type(error.cause).__name__}: {error.cause}"
            self._mirror_behind = True
            self._mirror_from = time.monotonic() + MIRROR_AGAIN_SECONDS
        else:
            self.mirror_error = self._dying_since = None
            self.mirrored += copied
            self._mirror_behind |= copied == MIRROR_CHUNK


def _cause(error: RayError) -> str:
    """What went wrong in the writer; of a statement only what the database said."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return str(getattr(cause, "orig", cause))
