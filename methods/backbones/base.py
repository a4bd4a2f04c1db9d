"""A Hugging Face model with places to compress."""

from __future__ import annotations

import copy
import hashlib
import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self

import torch
from torch import nn

from methods.base import InfeasibleError, Method
from methods.controls.identity import Identity
from methods.places import PLACES, Place
from methods.schedule import Schedule, Uniform
from methods.transform import TokenTransform


@dataclass(frozen=True)
class Stage:
    """One method at work at one place."""

    place: Place
    method: Any
    """A :class:`~methods.base.Method` of the kind that attaches there."""
    schedule: Schedule
    keep_ratio: float


class VacuousCompressionError(RuntimeError):
    """Compression was asked for and did not happen, or nothing read its result."""


@dataclass
class Compression:
    """What happened inside one ``with backbone.compressed(...)`` block; one instance per block.

    The per-forward fields describe the latest forward pass; times and counts of steps, entries and
    positions add up over the block.
    """

    tokens_per_layer: list[int] = field(default_factory=list)
    """Tokens of one sequence that enter each layer's attention (vision), or that each layer's cache
    holds after the prompt was read and compressed (language)."""
    transforms: dict[Place, dict[int, TokenTransform]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """W by place and layer, in the order of application."""
    kv_bytes: int = 0
    """Bytes of keys and values held per sequence once compressed; 0 where there is no cache."""
    weight_bytes: int = 0
    """Bytes of the weights as held inside the block."""
    attended: float = 0.0
    """Cache entries that decoding steps read, summed over steps, layers and heads."""
    visible: int = 0
    """Cache entries that they could have read."""
    steps: int = 0
    """Forward passes that gave new tokens, summed over sequences."""
    new_tokens: int = 0
    """Tokens that they gave, summed over sequences."""
    seconds: float = 0.0
    """Time spent in the method itself: scoring, building W and applying it."""
    reads: int = 0
    """How often an attention layer read a compressed state."""
    rehearsals: int = 0
    """Answers that were rehearsed: the passes for them draw what those draw that follow."""

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

    places: ClassVar[tuple[Place, ...]]
    """Where methods attach; a method that could at several attaches at the first."""
    recorded: ClassVar[tuple[Place, ...]]
    """Places whose attachment keeps the record, so that one is always there."""
    architectures: ClassVar[tuple[str, ...]]
    """Names in ``config.json``'s ``architectures`` that this adapter opens."""
    model_class: ClassVar[str]
    """Name of the Hugging Face class, or auto class, that reads such a model."""

    depth_in: ClassVar[str | None] = None
    """Part of ``config.json`` that says how many layers can be compressed; None: its top."""

    environment: ClassVar[str | None] = None
    """Environment in which the adapter works; None is that of this project."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self._record: Compression | None = None

    def twin(self) -> Self:
        """Another handle on the same model, for a thread of its own.

        Only what attaches to a decoder's caches may be at work over several of them at a time; see
        :mod:`methods.backbones.shared_steps`.
        """
        assert self._record is None, "a handle that is at work has no twin"
        return copy.copy(self)

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
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:
        """Why a method that attaches here cannot work on a model with this ``config.json``."""

    @classmethod
    @abstractmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of layers that a ``config.json`` describes."""

    @classmethod
    def layers_at(cls, config: dict[str, Any], place: Place) -> int:  # noqa: ARG003
        """Number of layers among which a schedule divides the budget of a place."""
        return cls.layers_in(config)

    @classmethod
    def shortened(cls, config: dict[str, Any], layers: int) -> dict[str, Any]:
        """The same model with its first ``layers`` layers only, as a ``config.json``."""
        if cls.depth_in is not None:
            part = _shortened(config.get(cls.depth_in, {}), layers)
            return {**config, cls.depth_in: part}
        return _shortened(config, layers)

    @classmethod
    def drawn(cls, config: dict[str, Any], dtype: torch.dtype, seed: int) -> Self:
        """A model of this shape with random weights: the same bits for equal arguments."""
        import transformers

        from methods.backbones.library.tapped_attention import NAME

        resolved = transformers.AutoConfig.for_model(**config)
        architecture = getattr(transformers, config["architectures"][0])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = architecture._from_config(resolved, dtype=dtype, attn_implementation=NAME)
        return cls(model)

    @classmethod
    def load(cls, path: str, revision: str | None, dtype: torch.dtype) -> Self:
        """Open a local model directory or a hub id; only safetensors weights are accepted."""
        # what opens no model, such as a listing, does not wait seconds for transformers
        import transformers

        from methods.backbones.library.tapped_attention import NAME

        model = getattr(transformers, cls.model_class).from_pretrained(
            path,
            revision=revision or "main",
            dtype=dtype,
            attn_implementation=NAME,
            use_safetensors=True,
        )
        return cls(model)

    @abstractmethod
    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Put one method to work at one place, and note what it does in ``compression``.

        Raises :class:`VacuousCompressionError` on leaving the block if the stage asked for fewer
        tokens and a forward pass went by without it.
        """

    @contextmanager
    def compressed(
        self, method: Method, schedule: Schedule, keep_ratio: float, seed: int
    ) -> Iterator[Compression]:
        """Compress every forward pass inside the block.

        ``seed`` fixes the methods' randomness: two blocks with equal arguments give equal bits.
        Raises InfeasibleError if a method attaches nowhere here or two cannot work together,
        RuntimeError if blocks nest, and :class:`VacuousCompressionError` as :meth:`attach` does.
        """
        if self._record is not None:
            raise RuntimeError("this backbone is compressed already; compressed blocks do not nest")
        compression = Compression(weight_bytes=weight_bytes(self.model))
        with ExitStack() as stack:
            self._record = compression
            stack.callback(setattr, self, "_record", None)
            stages = self.stages(method, schedule, keep_ratio)
            reason = self.why_not_together(stages, self.num_layers)
            if reason is not None:
                raise InfeasibleError(reason)
            for stage in stages:
                if stage.method.environment not in (None, self.environment):
                    raise InfeasibleError(f"{method.id()} runs in an environment of its own only")
                stack.enter_context(self.attach(stage, seed, compression))
            yield compression

    @classmethod
    def stages(cls, method: Method, schedule: Schedule, keep_ratio: float) -> list[Stage]:
        """What is attached where, in the order in which an input passes the places.

        Raises InfeasibleError if a method attaches nowhere here or two would share a place.
        """
        found = [
            Stage(cls.place_of(part.method, part.at), part.method, part.schedule, part.keep_ratio)
            for part in method.parts(schedule, keep_ratio)
        ]
        by_place = {place: _untouched(place) for place in cls.recorded}
        by_place |= {stage.place: stage for stage in found}
        if len({stage.place for stage in found}) < len(found):
            places = ", ".join(stage.place for stage in found)
            raise InfeasibleError(f"two stages of a stack cannot share a place: {places}")
        return [by_place[place] for place in PLACES if place in by_place]

    @classmethod
    def why_not_together(cls, stages: Sequence[Stage], num_layers: int) -> str | None:  # noqa: ARG003
        """Why stages at different places cannot work together, in one sentence, or None."""
        return None

    @classmethod
    def place_of(cls, method: Method, at: Place | None = None) -> Place:
        """Where a method attaches here. Raises InfeasibleError if nowhere."""
        possible = method.attaches_to()
        wanted = possible if at is None else [p for p in possible if p == at]
        place = next((place for place in cls.places if place in wanted), None)
        if place is None:
            there = " and ".join(possible if at is None else [at])
            here = " and ".join(cls.places)
            raise InfeasibleError(f"{method.id()} attaches to {there}, this model has {here}")
        return place

    def uncompressed(self) -> AbstractContextManager[Compression]:
        """The baseline with its record: nothing is touched, everything is noted."""
        return self.compressed(Identity(), Uniform(), keep_ratio=1.0, seed=0)


def _shortened(config: dict[str, Any], layers: int) -> dict[str, Any]:
    """Kinds of layers may be listed one by one."""
    short = {**config, "num_hidden_layers": layers}
    if "layer_types" in short:
        short["layer_types"] = short["layer_types"][:layers]
    return short


@cache
def _untouched(place: Place) -> Stage:
    return Stage(place, Identity(), Uniform(), 1.0)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the storages behind parameters and buffers; tied ones count once."""
    held = itertools.chain(model.parameters(), model.buffers())
    plain = (part for tensor in held for part in _plain(tensor))
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in plain}.values()
    )


def _plain(tensor: Any) -> Iterator[torch.Tensor]:
    """The tensors that a packed one is made of, or the tensor itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from _plain(getattr(tensor, name))


def layer_generator(seed: int, place: Place, forward_pass: int, layer: int) -> torch.Generator:
    """A CPU generator for one layer of one forward pass, counted from 0 within the block.

    A rehearsal and the pass that it foresees have one number. Equal arguments give equal draws in
    any process; different ones give unrelated draws, so that the stages of a stack, each at a place
    of its own, draw apart.
    """
    digest = hashlib.sha256(f"{seed} {place} {forward_pass} {layer}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    for watch in _WATCHES.here:
        watch.generators.append(generator)
    return generator


def memory_over_passes() -> dict[str, Any]:
    """A place where a method may keep what later passes of the block need."""
    memory: dict[str, Any] = {}
    for watch in _WATCHES.here:
        watch.memories.append(memory)
    return memory


class History:
    """Whether what a pass gives depends on the passes before it."""

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []
        self.memories: list[dict[str, Any]] = []

    @property
    def matters(self) -> bool:
        """Whether a method drew at random, anew for every pass, or kept something for later."""
        return any(self.memories) or any(map(_was_used, self.generators))


@contextmanager
def watched_history() -> Iterator[History]:
    """Notes what methods draw and keep inside the block."""
    watch = History()
    _WATCHES.here.append(watch)
    try:
        yield watch
    finally:
        _WATCHES.here.remove(watch)


class _Watches(threading.local):
    """Of each thread, for itself."""

    def __init__(self) -> None:
        self.here: list[History] = []


_WATCHES = _Watches()


def _was_used(generator: torch.Generator) -> bool:
    fresh = torch.Generator().manual_seed(generator.initial_seed())
    return not torch.equal(generator.get_state(), fresh.get_state())


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
