"""One configuration, ready to run, and how several requests of it share the model.

Decoders whose caches alone are compressed: every prompt is read and compressed by itself, and the
next tokens of all answers under way, whatever their lengths and configurations, are computed in one
step (:mod:`methods.backbones.shared_steps`). Everything else: examples of equal shapes that wait
for the same configuration go through one forward pass (:mod:`orchestrator.serving.gathering`);
methods that draw at random answer one by one, for a draw depends on the place in the batch.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Self

import torch

from methods.backbones.base import Backbone, Compression, watched_history
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.shared_steps import SHAREABLE, SharedSteps
from methods.base import Method
from methods.controls.identity import Identity
from orchestrator.measurement.models import build_method, build_task, open_backbone
from orchestrator.serving.gathering import Gathering
from orchestrator.serving.reader import Reader, reader_for
from sweeps.tasks.base import Task
from sweeps.trial import AnyWeights, TrialSpec


@dataclass(frozen=True)
class Outcome:
    """The task's answer to one example, and the tokens held per layer, on average."""

    output: dict[str, Any]
    tokens_kept: float


class Loaded:
    """One set of weights, and who waits for it."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.steps = SharedSteps()
        self._answered_at = -math.inf
        self.gathering = Gathering[Any, Outcome](self.steps.turn)

    @classmethod
    def of(cls, weights: AnyWeights) -> Self:
        """Open a model."""
        return cls(open_backbone(weights))

    def answered(self) -> None:
        """The model gave something just now."""
        self._answered_at = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        """Since it did."""
        return time.monotonic() - self._answered_at

    @property
    def turn(self) -> threading.Lock:
        """Held while the model is used by one alone."""
        return self.steps.turn


class Variant:
    """A configuration of a model."""

    def __init__(self, spec: TrialSpec, loaded: Loaded) -> None:
        self.spec = spec
        self.loaded = loaded
        self.task: Task[Any, Any] = build_task(spec)
        self.reader: Reader | None = reader_for(spec, self.task, loaded.backbone)
        """What goes on from prompts, where the model gives text."""
        self._method = build_method(spec)
        self._shares_steps = _shares_steps(spec, self._method, loaded.backbone)
        self._most = self.task.batch_size

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around a first answer: learn whether it depends on the place in a batch."""
        with watched_history() as history:
            yield
        if history.matters:
            self._most = 1

    def answer(self, batch: Any) -> Outcome:
        """The outcome of a batch of one. Raises what tasks and backbones raise."""
        if not self._shares_steps:
            key = (self.spec.id, self.task.shape_of(batch))
            return self.loaded.gathering.answer(key, batch, self._together, self._most)
        with self.at_work() as (backbone, compression):
            output = self.task.predict(backbone, batch)[0]
        return _outcome(output, compression)

    @contextmanager
    def at_work(self) -> Iterator[tuple[Backbone, Compression]]:
        """A handle on the compressed model for one request."""
        loaded, twin = self.loaded, self.loaded.backbone.twin()
        if self._shares_steps:
            assert isinstance(twin, CausalLMBackbone)
            with twin.stepping(loaded.steps), self._compressed(twin) as compression:
                yield twin, compression
        else:
            with loaded.turn, self._compressed(twin) as compression:
                yield twin, compression

    def _together(self, batches: list[Any]) -> Sequence[Outcome]:
        backbone = self.loaded.backbone.twin()
        with self._compressed(backbone) as compression:
            outputs = self.task.predict(backbone, self.task.joined(batches))
        return [_outcome(output, compression) for output in outputs]

    @contextmanager
    def _compressed(self, backbone: Backbone) -> Iterator[Compression]:
        spec = self.spec
        with (
            torch.inference_mode(),
            backbone.compressed(
                self._method, spec.schedule, spec.keep_ratio, spec.seed
            ) as compression,
        ):
            yield compression


def _outcome(output: dict[str, Any], compression: Compression) -> Outcome:
    return Outcome(output, fmean(compression.tokens_per_layer or [0]))


def _shares_steps(spec: TrialSpec, method: Method, backbone: Backbone) -> bool:
    if not isinstance(backbone, CausalLMBackbone):
        return False
    stages = backbone.stages(method, spec.schedule, spec.keep_ratio)
    return all(isinstance(s.method, Identity) or s.place in SHAREABLE for s in stages)
