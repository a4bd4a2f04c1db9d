"""The model, method and task of a trial; models are kept for whoever asks next in this process."""

from __future__ import annotations

import json
import platform
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from methods import registry as methods_registry
from methods.backbones.base import Backbone, Compression
from methods.backbones.registry import adapter_for
from methods.base import Method
from methods.infeasible import MissingHereError
from sweeps.models import location, missing, unchanged
from sweeps.tasks import registry as tasks_registry
from sweeps.tasks.base import Task
from sweeps.trial import AnyWeights, RandomWeights, TrialSpec, Weights


def build_task(spec: TrialSpec) -> Task[Any, Any]:
    """The task of a trial, with its parameters."""
    return tasks_registry.build(spec.task.id, spec.task.params)


def build_method(spec: TrialSpec) -> Method:
    """The method of a trial, with its hyperparameters."""
    return methods_registry.build(spec.method.id, spec.method.params)


def compressed(backbone: Backbone, spec: TrialSpec) -> AbstractContextManager[Compression]:
    """A block in which the model is compressed as the trial says."""
    return backbone.compressed(build_method(spec), spec.schedule, spec.keep_ratio, spec.seed)


def open_backbone(weights: AnyWeights) -> Backbone:
    """The model, on the GPU if this process may use one.

    Raises MissingHereError if this node lacks the files or they are no longer those that were
    planned: numbers would be recorded under the name of others.
    """
    if (folder := missing(weights)) is not None:
        raise MissingHereError(
            f"the weights of {weights.name} are not on {platform.node()}: {folder} has to be on "
            "every node, or name a hub id"
        )
    if not unchanged(weights):
        raise MissingHereError(
            f"the weights of {weights.name} changed since the plan; run it again"
        )
    transformers_logging.disable_progress_bar()
    backbone = _drawn(weights) if isinstance(weights, RandomWeights) else _loaded(weights)
    backbone.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return backbone


def _loaded(weights: Weights) -> Backbone:
    path = location(weights)
    config = AutoConfig.from_pretrained(path, revision=weights.revision, trust_remote_code=False)
    adapter = adapter_for({"architectures": config.architectures})
    return adapter.load(path, weights.revision, getattr(torch, weights.dtype))


def _drawn(weights: RandomWeights) -> Backbone:
    config = json.loads(weights.config)
    return adapter_for(config).drawn(config, getattr(torch, weights.dtype), weights.seed)


def warm_backbone(weights: AnyWeights) -> Backbone:
    """The model, as this process holds it already or opened and kept."""
    if isinstance(weights, Weights):
        return _opened(weights)
    if weights not in _DRAWN:
        _DRAWN.clear()  # at true scale, memory may not hold two
        _DRAWN[weights] = open_backbone(weights)
    return _DRAWN[weights]


@lru_cache(maxsize=2)
def _opened(weights: Weights) -> Backbone:
    return open_backbone(weights)


_DRAWN: dict[RandomWeights, Backbone] = {}
"""The model with random weights that this process used last."""


def close_backbones() -> None:
    """Forget the models that are kept."""
    _opened.cache_clear()
    _DRAWN.clear()
