"""The models behind the server: a plain class that Ray Serve turns into a deployment.

Each distinct set of weights is in memory once, whatever number of configurations use it; a
configuration is applied around one forward pass and leaves nothing behind. Forward passes of one
backbone follow each other; different backbones work at the same time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from methods.backbones.base import Backbone, Compression, VacuousCompressionError
from methods.base import InfeasibleError, Method
from orchestrator.measurement.trial import build_method, build_task, open_backbone
from orchestrator.serving.completion import Completion
from orchestrator.serving.messages import Answer, Continuation, Event, Piece, Refusal, TextCard
from orchestrator.serving.reader import Reader, reader_for
from store.releases.release import Release
from sweeps.tasks.base import Task
from sweeps.trial import AnyWeights, TrialSpec

PROBE = {"example": 0}
"""Inputs of the forward pass that shows that a configuration works."""
QUIET_SECONDS = 5.0
"""A model that answered this recently is not asked whether it is well."""
MAX_ONGOING = 32
"""Requests that one engine takes at a time."""


@dataclass(frozen=True)
class _Loaded:
    """One set of weights; ``turn`` is held during a forward pass."""

    backbone: Backbone
    turn: threading.Lock


@dataclass(frozen=True)
class _Variant:
    """A configuration, ready to run."""

    spec: TrialSpec
    task: Task[Any, Any]
    method: Method
    loaded: _Loaded
    reader: Reader | None
    """What goes on from prompts, where the model gives text."""


class Engine:
    """Answers examples with the configurations of a release.

    The constructor loads every model and runs every configuration once; it raises what the first
    one that does not work raised. Safe to call from several threads.
    """

    def __init__(self, release: Release) -> None:
        torch.set_num_threads(1)  # as when the numbers were measured: same bits
        specs = {c.trial: c.spec for w in release.workloads for c in w.configurations}
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._variants = {trial: self._variant(spec) for trial, spec in specs.items()}
        for variant in self._variants.values():
            self._warm_up(variant)
        self._last_answer = time.monotonic()
        self._threads = ThreadPoolExecutor(MAX_ONGOING, thread_name_prefix="completion")

    @property
    def num_backbones(self) -> int:
        """Models in memory."""
        return len(self._loaded)

    def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """The task's answer to one example, or why these inputs have none."""
        return self._predicted(self._variants[trial], inputs)

    def _predicted(self, variant: _Variant, inputs: dict[str, Any]) -> Answer | Refusal:
        started = time.perf_counter()
        try:
            batch = variant.task.batch_of(inputs)
        except ValueError as error:
            return Refusal(str(error))
        try:
            with _compressed(variant) as compression:
                output = variant.task.predict(variant.loaded.backbone, batch)[0]
        except VacuousCompressionError:
            return Refusal("the inputs are too short: this configuration has nothing to compress")
        except FloatingPointError:
            return Refusal("the model's numbers overflow on these inputs")
        except InfeasibleError as error:
            return Refusal(str(error))
        self._last_answer = time.monotonic()
        kept = fmean(compression.tokens_per_layer or [0])
        return Answer(output, time.perf_counter() - started, kept)

    def text_cards(self) -> dict[str, TextCard]:
        """How the models that go on from prompts read and write text, by trial."""
        readers = {trial: variant.reader for trial, variant in self._variants.items()}
        return {trial: reader.card for trial, reader in readers.items() if reader is not None}

    async def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """Go on from a prompt: pieces as they are generated, then an ending; or a refusal.

        Equal requests get equal events. Who stops iterating stops the model.
        """
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop, unwanted = asyncio.get_running_loop(), threading.Event()

        def tell(event: Event | None) -> None:
            if isinstance(event, Piece):
                self._last_answer = time.monotonic()  # a long answer is a sign of health
            loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            try:
                self._complete(trial, continuation, tell, lambda: not unwanted.is_set())
            finally:
                tell(None)

        working = loop.run_in_executor(self._threads, work)
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            unwanted.set()
        await working

    def _complete(
        self,
        trial: str,
        continuation: Continuation,
        tell: Callable[[Event], None],
        wanted: Callable[[], bool],
    ) -> None:
        variant = self._variants[trial]
        if variant.reader is None:
            tell(Refusal("this configuration's model does not go on from prompts"))
            return
        Completion(variant.reader, continuation, tell, wanted).run(lambda: _compressed(variant))

    def probe(self) -> int:
        """Run a forward pass on every model; returns their number, raises what went wrong."""
        first = {id(variant.loaded): trial for trial, variant in self._variants.items()}
        for trial in first.values():
            self._probe(trial)
        return self.num_backbones

    def check_health(self) -> None:
        """Called by Ray Serve every few seconds; raising or hanging gets this replica replaced."""
        if time.monotonic() - self._last_answer > QUIET_SECONDS:
            self.probe()

    def _probe(self, trial: str) -> None:
        self._warm_up(self._variants[trial])

    def _warm_up(self, variant: _Variant) -> None:
        answer = self._predicted(variant, PROBE)
        if isinstance(answer, Refusal):
            name = variant.spec.id
            raise RuntimeError(f"configuration {name} does not answer {PROBE}: {answer.reason}")

    def _variant(self, spec: TrialSpec) -> _Variant:
        task, loaded = build_task(spec), self._load(spec.backbone)
        reader = reader_for(spec, task, loaded.backbone)
        return _Variant(spec, task, build_method(spec), loaded, reader)

    def _load(self, weights: AnyWeights) -> _Loaded:
        key = (weights.fingerprint, weights.dtype)
        if key not in self._loaded:
            self._loaded[key] = _Loaded(open_backbone(weights), threading.Lock())
        return self._loaded[key]


@contextmanager
def _compressed(variant: _Variant) -> Iterator[Compression]:
    """The variant's turn with its model, compressed."""
    spec, backbone = variant.spec, variant.loaded.backbone
    with (
        variant.loaded.turn,
        torch.inference_mode(),
        backbone.compressed(
            variant.method, spec.schedule, spec.keep_ratio, spec.seed
        ) as compression,
    ):
        yield compression
