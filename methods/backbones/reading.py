"""What all backbones with a decoder share: reading a prompt into a cache, then answering from it.

The prompt is read whole; what its last token adds may be dropped again, so that this token is fed a
second time and the first answer token too is decided by the compressed state; then everything else
is fed through the cache. The uncompressed model takes the same path, so that a keep ratio of 1 is
the baseline bit for bit.

Entries keep their original positions (keys are cached after rotary embedding). Sequences of one
batch have equal lengths: there is no padding.

Shapes: B sequences, Q tokens fed at once, V words.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from methods.backbones import attention_tap, decoder_stacks
from methods.backbones.base import Backbone, Compression, Stage
from methods.backbones.cache_compressor import CacheCompressor
from methods.backbones.shared_steps import Alone, Steps
from methods.backbones.sparse_reader import SparseReader
from methods.backbones.weight_swap import converted
from methods.decoding._base import Drafter
from methods.infeasible import InfeasibleError
from methods.places import Place
from methods.storage._base import CacheFormat

if TYPE_CHECKING:
    from methods.backbones.library.kv_cache import EvictableLayer
    from methods.backbones.library.quantised_cache import QuantisedLayer

Listener = Callable[[Tensor], bool]
"""Takes the tokens of one step, long [B, n]; whether the answer goes on behind them."""

DECODER_PLACES: Final[tuple[Place, ...]] = ("storage", "attention", "decoding", "weights")
"""Where methods attach to any decoder, besides its cache."""


class LanguageBackbone(Backbone):
    """A model with a decoder whose cache can be compressed once a prompt has been read."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._compressor: CacheCompressor | None = None
        self._layer: Callable[[], EvictableLayer] | None = None
        self._drafter: Drafter | None = None
        self._one_by_one = False
        self._listener: Listener = unheard
        self._steps: Steps = Alone()

    @property
    @abstractmethod
    def _decoder_layers(self) -> list[Any]:
        """The decoder's layers, each with its attention as ``self_attn``."""

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self._decoder_layers)

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """What attaches at each place of a decoder.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        match stage.place:
            case "weights":
                return converted(self.model, stage.method, compression)
            case "storage":
                return self._attach_storage(stage.method)
            case "attention":
                return self._attach_reader(stage, compression)
            case "decoding":
                return self._attached("_drafter", stage.method)
        return self._attach_cache(stage, seed, compression)

    @classmethod
    def why_not_together(cls, stages: Sequence[Stage], num_layers: int) -> str | None:
        """See :mod:`methods.backbones.decoder_stacks`."""
        return decoder_stacks.why_not_together(stages, num_layers)

    def heard(self, listener: Listener) -> AbstractContextManager[None]:
        """Inside, ``listener`` hears every answer while it is generated, and may end it.

        It gets what each step adds, as the compressed cache gives it: rehearsals stay unheard. An
        answer that it ends has fewer tokens than were asked for.
        """
        return self._attached("_listener", listener)

    def stepping(self, steps: Steps) -> AbstractContextManager[None]:
        """Inside, ``steps`` says when prompts are read, and feeds what follows them."""
        return self._attached("_steps", steps)

    @contextmanager
    def _attached(self, name: str, value: Any) -> Iterator[None]:
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            yield
        finally:
            setattr(self, name, before)

    @contextmanager
    def _attach_storage(self, method: CacheFormat) -> Iterator[None]:
        """Hold every prompt's entries in the method's format."""
        from methods.backbones.library.quantised_cache import QuantisedLayer  # as in _empty_cache

        layers: list[QuantisedLayer] = []

        def layer() -> QuantisedLayer:
            layers.append(QuantisedLayer(method))
            return layers[-1]

        with self._attached("_layer", layer):
            yield
        unused = sum(not layer.ever_packed for layer in layers)
        if unused:
            raise InfeasibleError(
                f"{method.id()} left {unused} of {len(layers)} layers' caches in full precision: "
                f"prompts are shorter than residual {method.residual} and a group of "
                f"{method.group_size}"
            )

    @contextmanager
    def _attach_reader(self, stage: Stage, compression: Compression) -> Iterator[None]:
        """Let every decoding step read a part of the cache."""
        modules = [layer.self_attn for layer in self._decoder_layers]
        held = stage.schedule.held(stage.keep_ratio, len(modules))
        reader = SparseReader(stage.method, held, modules, compression)
        with attention_tap.attach(modules, reader.tap), self._attached("_one_by_one", True):
            yield
        reader.require_effect()

    @contextmanager
    def _attach_cache(self, stage: Stage, seed: int, compression: Compression) -> Iterator[None]:
        """Compress the cache of every prompt read inside the block."""
        modules = [layer.self_attn for layer in self._decoder_layers]
        held = stage.schedule.held(stage.keep_ratio, len(modules))
        compressor = CacheCompressor(stage.method, held, seed, modules, compression)
        with (
            attention_tap.attach(modules, compressor.tap),
            self._attached("_compressor", compressor),
        ):
            yield
        compressor.require_effect()

    @contextmanager
    def _reading(
        self, num_prompt: int, num_cached: int, read: Callable[[Any], object]
    ) -> Iterator[Any]:
        """The cache once ``read(cache)`` has read the prompt and the layers were cut.

        ``num_cached`` of the ``num_prompt`` tokens leave entries. Raises InfeasibleError where none
        do.
        """
        if num_cached < 1:
            raise InfeasibleError(f"a prompt of {num_prompt} tokens leaves nothing to cache")
        cache = self._empty_cache(self._layer)
        with self._compressing(cache, num_prompt - num_cached):
            with self._steps.reading():
                read(cache)
                for layer in cache.layers:
                    layer.truncate(num_cached)
                    layer.settle()
                if self._compressor is not None:
                    self._compressor.record()
            with self._steps.decoding():
                yield cache

    def _empty_cache(self, layer: Callable[[], EvictableLayer] | None = None) -> Any:
        """A cache of layers that ``layer`` makes; None makes plain ones."""
        # its classes are made of the library's, for which only opened models wait
        from methods.backbones.library.kv_cache import EvictableLayer, new_cache

        return new_cache(self.num_layers, layer or EvictableLayer)

    def _foreseen(self, answer: Callable[[], Tensor]) -> Tensor:
        """``answer()``, rehearsed uncompressed first if the cache's method must know the future."""
        compressor = self._compressor
        if compressor is not None and compressor.must_foresee:
            with (
                self._attached("_compressor", None),
                self.heard(unheard),
                compressor.rehearsal(),
                compressor.compression.timed(self.device),
            ):
                answer()
            compressor.compression.rehearsals += 1
        return answer()

    def _compressing(self, cache: Any, num_dropped: int) -> AbstractContextManager[None]:
        if self._compressor is None:
            return nullcontext()
        return self._compressor.sequence(cache, num_dropped)

    def _greedy(self, cache: Any, feed_BQ: Tensor, num_new: int) -> Tensor:
        """The most probable next tokens one by one, long [B, num_new]; the last is not fed.

        Fewer where the listener ends the answer.
        """
        new = [feed_BQ[:, :0]]
        for _ in range(num_new):
            feed_BQ = self._next_logits(cache, feed_BQ)[:, -1:].argmax(-1)
            new.append(feed_BQ)
            if not self._listener(feed_BQ):
                break
        given = (len(new) - 1) * len(feed_BQ)
        self._count(steps=given, new_tokens=given)
        return torch.cat(new, dim=1)

    def _drafted(self, cache: Any, feed_1Q: Tensor, before_T: Tensor, num_new: int) -> Tensor:
        """The same tokens in fewer steps, long [1, num_new]; ``before_T`` is what came before.

        One sequence at a time, since sequences accept different numbers of drafted tokens.
        """
        assert self._drafter is not None
        text_T, steps = torch.cat([before_T, feed_1Q[0]]), 0
        start, end = len(text_T), len(text_T) + num_new
        while len(text_T) < end:
            draft_T = self._drafter.draft(text_T)[: end - len(text_T) - 1]
            fed_1Q = torch.cat([feed_1Q, draft_T[None]], dim=1)
            first = feed_1Q.shape[1] - 1
            chosen_T = self._next_logits(cache, fed_1Q)[0, first:].argmax(-1)
            right = int((chosen_T[:-1] == draft_T).long().cumprod(0).sum())
            for layer in cache.layers:
                layer.truncate(layer.seen - (len(draft_T) - right))
            text_T, steps = torch.cat([text_T, chosen_T[: right + 1]]), steps + 1
            feed_1Q = text_T[None, -1:]
            if not self._listener(text_T[None, -right - 1 :]):
                break
        self._count(steps=steps, new_tokens=len(text_T) - start)
        return text_T[None, start:]

    def _count(self, steps: int, new_tokens: int) -> None:
        if self._record is not None:
            self._record.steps += steps
            self._record.new_tokens += new_tokens

    def _next_logits(self, cache: Any, feed_BQ: Tensor) -> Tensor:
        """Logits after each token fed, float [B, Q, V].

        Raises FloatingPointError if any is not finite.
        """
        feeds = torch.split(feed_BQ, 1, dim=1) if self._one_by_one else (feed_BQ,)
        logits = torch.cat([self._fed_logits(cache, part) for part in feeds], dim=1).float()
        if not logits.isfinite().all():
            raise FloatingPointError("the model's logits are not finite")
        return logits

    def _fed_logits(self, cache: Any, feed_BQ: Tensor) -> Tensor:
        return self._steps.logits(self.model, feed_BQ, self._positions(cache, feed_BQ), cache)

    def _positions(self, cache: Any, feed_BQ: Tensor) -> Tensor | None:  # noqa: ARG002
        """Rotary positions of tokens fed behind a cache; None counts on from those seen."""
        return None


def unheard(_: Tensor) -> bool:
    """A listener that lets answers run to their end."""
    return True
