"""The models behind the server: a plain class that Ray Serve turns into a deployment.

Each distinct set of weights is in memory once, whatever number of configurations use it; a
configuration is applied around one request and leaves nothing behind. Requests that are in flight
together share forward passes as :mod:`orchestrator.serving.variants` says; different models work at
the same time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from orchestrator.serving.completion import Completion
from orchestrator.serving.messages import (
    PROBE,
    Answer,
    Continuation,
    Event,
    Piece,
    Refusal,
    TextCard,
)
from orchestrator.serving.unanswerable import UNANSWERABLE, refusal_of
from orchestrator.serving.variants import Loaded, Variant
from store.releases.release import Release
from sweeps.trial import AnyWeights, TrialSpec

QUIET_SECONDS = 5.0
"""A model that answered this recently is not asked whether it is well."""
MAX_ONGOING = 32
"""Requests that one engine takes at a time."""


class Engine:
    """Answers examples with the configurations of a release.

    The constructor loads every model and runs every configuration once; it raises what the first
    one that does not work raised. Safe to call from several threads.
    """

    def __init__(self, release: Release) -> None:
        torch.set_num_threads(1)  # as when the numbers were measured: same bits
        specs = {c.trial: c.spec for c in release.configurations}
        self._loaded: dict[tuple[str, str], Loaded] = {}
        self._variants = {trial: self._ready(spec) for trial, spec in specs.items()}
        self._threads = ThreadPoolExecutor(MAX_ONGOING, thread_name_prefix="completion")

    @property
    def num_backbones(self) -> int:
        """Models in memory."""
        return len(self._loaded)

    def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """The task's answer to one example, or why these inputs have none."""
        return self._predicted(self._variant(trial), inputs)

    def _predicted(self, variant: Variant, inputs: dict[str, Any]) -> Answer | Refusal:
        started = time.perf_counter()
        try:
            batch = variant.task.batch_of(inputs)
        except ValueError as error:
            return Refusal(str(error))
        try:
            outcome = variant.answer(batch)
        except UNANSWERABLE as error:
            return refusal_of(error)
        variant.loaded.answered()
        return Answer(outcome.output, time.perf_counter() - started, outcome.tokens_kept)

    def text_cards(self, trials: Sequence[str]) -> dict[str, TextCard]:
        """How the models that go on from prompts read and write text, by trial."""
        readers = {trial: self._variant(trial).reader for trial in trials}
        return {trial: reader.card for trial, reader in readers.items() if reader is not None}

    async def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """Go on from a prompt: pieces as they are generated, then an ending; or a refusal.

        Equal requests get equal events. Who stops iterating stops the model.
        """
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        loop, unwanted = asyncio.get_running_loop(), threading.Event()
        variant = await asyncio.to_thread(self._variant, trial)  # it may have to be loaded

        def tell(event: Event | None) -> None:
            if isinstance(event, Piece):
                variant.loaded.answered()  # a long answer is a sign of health
            loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            try:
                _complete(variant, continuation, tell, lambda: not unwanted.is_set())
            finally:
                tell(None)

        working = loop.run_in_executor(self._threads, work)
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            unwanted.set()
        await working

    def probe(self) -> int:
        """Run a forward pass on every model; returns their number, raises what went wrong."""
        each = self._one_of_each_model()
        for variant in each:
            self._require_answer(variant)
        return len(each)

    def check_health(self) -> None:
        """Called by Ray Serve every few seconds; raising or hanging gets this replica replaced."""
        for variant in self._one_of_each_model():
            if variant.loaded.quiet_seconds > QUIET_SECONDS:
                self._require_answer(variant)

    def _variant(self, trial: str) -> Variant:
        """The configuration of a trial. Raises KeyError where it is not served."""
        return self._variants[trial]

    def _one_of_each_model(self) -> list[Variant]:
        return list({id(variant.loaded): variant for variant in self._variants.values()}.values())

    def _require_answer(self, variant: Variant) -> None:
        answer = self._predicted(variant, PROBE)
        if isinstance(answer, Refusal):
            name = variant.spec.id
            raise RuntimeError(f"configuration {name} does not answer {PROBE}: {answer.reason}")

    def _ready(self, spec: TrialSpec) -> Variant:
        """A configuration that has answered once. Raises what kept it from answering."""
        variant = Variant(spec, self._load(spec.backbone))
        with variant.watched():
            self._require_answer(variant)
        return variant

    def _load(self, weights: AnyWeights) -> Loaded:
        key = (weights.fingerprint, weights.dtype)
        if key not in self._loaded:
            self._loaded[key] = Loaded.of(weights)
        return self._loaded[key]


def _complete(
    variant: Variant,
    continuation: Continuation,
    tell: Callable[[Event], None],
    wanted: Callable[[], bool],
) -> None:
    if variant.reader is None:
        tell(Refusal("this configuration's model does not go on from prompts"))
        return
    Completion(variant.reader, continuation, tell, wanted).run(variant.at_work)
