"""A Hugging Face model with places to compress."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from methods.base import Method
from methods.controls.identity import Identity
from methods.registry import Place
from methods.schedule import Schedule, Uniform
from methods.transform import TokenTransform


class VacuousCompressionError(RuntimeError):
    """Compression was asked for and did not happen, or nothing read its result."""


@dataclass
class Compression:
    """What happened inside one ``with backbone.compressed(...)`` block; one instance per block.

    The per-forward fields describe the latest forward pass; ``seconds`` adds up over the block.
    """

    tokens_per_layer: list[int] = field(default_factory=list)
    """Tokens of one sequence that enter each layer's attention (vision), or that each layer's cache
    holds after compression (cache)."""
    transforms: dict[int, TokenTransform] = field(default_factory=dict)
    """W by layer, in the order of application."""
    kv_bytes: int = 0
    """Bytes of keys and values held per sequence once compressed; 0 where there is no cache."""
    seconds: float = 0.0
    """Time spent in the method itself: scoring, building W and applying it."""
    reads: int = 0
    """How often an attention layer read a compressed state."""

    @contextmanager
    def timed(self, device: torch.device) -> Iterator[None]:
        """Add the block's wall time to ``seconds``, waiting for a GPU at both ends."""
        _synchronize(device)
        started = time.perf_counter()
        yield
        _synchronize(device)
        self.seconds += time.perf_counter() - started


class Backbone(ABC):
    """One loaded model. Compression is attached by ``with`` and leaves no trace behind.

    Several ``compressed`` blocks over one backbone may follow each other but not nest.
    """

    place: ClassVar[Place]
    architectures: ClassVar[tuple[str, ...]]
    """Names in ``config.json``'s ``architectures`` that this adapter opens."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """Number of layers in which tokens can be compressed."""

    @classmethod
    @abstractmethod
    def why_not(cls, config: dict[str, Any], method: type[Method[Any]]) -> str | None:
        """Why a method cannot work on a model with this ``config.json``, or None if it can."""

    @classmethod
    @abstractmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of layers that a ``config.json`` describes."""

    @classmethod
    @abstractmethod
    def load(cls, path: str, revision: str | None, dtype: torch.dtype) -> Backbone:
        """Open a local model directory or a hub id; only safetensors weights are accepted."""

    @abstractmethod
    def compressed(
        self, method: Method[Any], schedule: Schedule, keep_ratio: float, seed: int
    ) -> AbstractContextManager[Compression]:
        """Compress every forward pass inside the block.

        ``seed`` fixes the methods' randomness: two blocks with equal arguments give equal bits.
        Raises :class:`VacuousCompressionError` on leaving the block if ``keep_ratio`` asked for
        fewer tokens and a forward pass went by without it.
        """

    def uncompressed(self) -> AbstractContextManager[Compression]:
        """The baseline with its record: nothing is touched, everything is noted."""
        return self.compressed(Identity(), Uniform(), keep_ratio=1.0, seed=0)


def layer_generator(seed: int, forward_pass: int, layer: int) -> torch.Generator:
    """A CPU generator for one layer of one forward pass, counted from 0 within the block.

    Equal arguments give equal draws in any process; different ones give unrelated draws.
    """
    digest = hashlib.sha256(f"{seed} {forward_pass} {layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
