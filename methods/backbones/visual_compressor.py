"""The reduction of visual tokens at a decoder's doorstep and before its layers.

A token that is cut before a layer leaves no entry in that layer's cache or any later one; earlier
layers keep theirs. Language layers read a merged token like any other: proportional attention is a
matter of the towers that tokens are merged in.

Shapes: B sequences, N visual tokens still there, Q text tokens, S = N + Q tokens of the sequence,
D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones import attention_tap
from methods.backbones.attention_tap import AttentionCall
from methods.backbones.base import Compression, Stage, layer_generator
from methods.backbones.effect import Effect
from methods.backbones.reading_masks import reading_mask
from methods.backbones.relevance import carried
from methods.backbones.visual_attention import seen_by
from methods.backbones.visual_sequence import VisualSequence, rows_for_all
from methods.contexts import TowerView, VisualContext
from methods.schedule import num_held


@dataclass
class _Prompt:
    """The prompt under way and, once it has been read, its cache."""

    caches: list[Any]
    tokens: VisualSequence
    tower: TowerView | None
    num_arrived: int
    """Visual tokens at the doorstep, of which the schedule holds a fraction."""
    arrived_BS: Tensor | None = None
    """Positions of what entered the first layer, for which the decoder made cosines and sines."""
    filled: set[int] = field(default_factory=set)
    shortened: set[int] = field(default_factory=set)
    previous: AttentionCall | None = None
    future_BN: dict[int, Tensor] = field(default_factory=dict)
    """Relevance of the tokens still there, by the layers before which they may be cut."""
    memory: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] | None = None
    """What layers are told about the tokens still there, the same until the next cut."""

    def forget_what_methods_read(self) -> None:
        """No cut comes any more: the answer is written without a tower's keys in memory."""
        self.tower, self.memory = None, {}


class VisualCompressor:
    """One ``compressed`` block's reduction of visual tokens before a decoder's ``layers``."""

    def __init__(
        self, stage: Stage, seed: int, layers: Sequence[Any], compression: Compression
    ) -> None:
        self.method = stage.method
        self.layers = tuple(layers)
        self.held = stage.schedule.held(stage.keep_ratio, len(self.layers))
        self.seed = seed
        self.compression = compression
        self.transforms = compression.transforms["vlm"]
        self.reads = 0
        self._effect = Effect(self.held)
        self.future_BN: dict[int, Tensor] = {}
        """Relevance of the tokens of the prompt that is read next; a rehearsal finds it out."""
        self._index = {layer.self_attn: index for index, layer in enumerate(self.layers)}
        self._prompt: _Prompt | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen at every layer; raise on leaving if a prompt was read without compression."""
        with ExitStack() as stack:
            stack.enter_context(attention_tap.attach(self._index, self._tap))
            for index, layer in enumerate(self.layers):
                hook = partial(self._before_layer, index)
                stack.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield
        self._effect.require("prompts kept all visual tokens, or nothing read what was kept")

    @property
    def must_foresee(self) -> bool:
        """Whether something will be cut by a method that has to know what is answered."""
        return bool(self.method.needs_future and min(self.held) < 1)

    @contextmanager
    def sequence(self) -> Iterator[None]:
        """Everything from reading a prompt to the last token."""
        with self.rehearsal():
            yield
        self._effect.saw(bool(self.transforms and self.reads))

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """A sequence that will be run again with the same draws."""
        self.reads = 0
        self.transforms.clear()
        try:
            yield
        finally:
            self._prompt = None

    def doorstep(
        self,
        cache: Any,
        tokens: VisualSequence,
        tower: TowerView,
        visual_BND: Tensor,
        text_BQD: Tensor,
    ) -> tuple[VisualSequence, Tensor]:
        """The tokens that enter the first language layer."""
        prompt = self._prompt = _Prompt(
            cache.layers, tokens, tower, tokens.num_visual, future_BN=dict(self.future_BN)
        )
        if self._cuts(prompt, 0):
            visual_BND = self._reduce(prompt, 0, visual_BND, text_BQD)
        prompt.arrived_BS = prompt.tokens.positions
        return prompt.tokens, visual_BND

    def _before_layer(
        self, index: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        prompt = self._prompt
        if prompt is None or index in prompt.filled:
            return None
        (hidden_BSD,) = args
        if self._cuts(prompt, index):
            visual_BND, text_BQD = prompt.tokens.split(hidden_BSD)
            visual_BND = self._reduce(prompt, index, visual_BND, text_BQD)
            hidden_BSD = prompt.tokens.join(visual_BND, text_BQD)
        return (hidden_BSD,), kwargs | _for_those_left(prompt, kwargs)

    def _tap(self, module: nn.Module, call: AttentionCall) -> AttentionCall:
        """Keep what the next layer's cut may read; count and mask what is read later."""
        layer, prompt = self._index[module], self._prompt
        if prompt is None:
            if layer == 0:  # Somebody called the model past the backbone.
                self._effect.saw(happened=False)
            return call
        if layer not in prompt.filled:
            prompt.filled.add(layer)
            prompt.previous = call if self._cuts(prompt, layer + 1) else None
            if layer == len(self.layers) - 1:
                prompt.forget_what_methods_read()
            return call
        is_shortened = layer in prompt.shortened
        self.reads += is_shortened
        self.compression.reads += is_shortened
        return replace(call, mask=reading_mask(call.query_BHTD, call.key_BKND, None))

    def _cuts(self, prompt: _Prompt, layer: int) -> bool:
        return layer < len(self.layers) and self._num_keep(prompt, layer) < prompt.tokens.num_visual

    def _num_keep(self, prompt: _Prompt, layer: int) -> int:
        return num_held(self.held[layer], prompt.num_arrived)

    def _reduce(self, prompt: _Prompt, layer: int, visual_BND: Tensor, text_BQD: Tensor) -> Tensor:
        with self.compression.timed(visual_BND.device):
            context = self._context(prompt, layer, visual_BND, text_BQD)
            transform = self.method.transform(context)
            prompt.tokens, order_BK = (
                prompt.tokens.reduced(transform.dense())
                if transform.merges
                else prompt.tokens.pruned(transform.kept)
            )
            transform = self.transforms[layer] = transform.reordered(order_BK)
            prompt.future_BN = {
                later: carried(future_BN, transform)
                for later, future_BN in prompt.future_BN.items()
            }
            visual_BND = transform(visual_BND)
        prompt.previous = prompt.told = None
        for index in range(layer, len(self.layers)):
            prompt.shortened.add(index)
            prompt.caches[index].skip(transform.num_in - transform.num_out)
        return visual_BND

    def _context(
        self, prompt: _Prompt, layer: int, visual_BND: Tensor, text_BQD: Tensor
    ) -> VisualContext:
        assert prompt.tower is not None
        inside: dict[str, Any] = {}
        if prompt.previous is not None:
            scaling = self.layers[layer - 1].self_attn.scaling
            inside = seen_by(prompt.previous, scaling, prompt.tokens)
        return VisualContext(
            sizes_BN=prompt.tokens.sizes_BN,
            num_keep=self._num_keep(prompt, layer),
            layer=layer,
            num_layers=len(self.layers),
            generator=layer_generator(self.seed, "vlm", self._effect.passes, layer),
            hidden_BND=visual_BND,
            future_BN=prompt.future_BN.get(layer),
            origin_BN=prompt.tokens.origin_BN,
            layout=prompt.tokens.layout,
            text_BQD=text_BQD,
            question_Q=prompt.tokens.question,
            images_before_Q=prompt.tokens.images_before,
            tower=prompt.tower,
            memory=prompt.memory,
            **inside,
        )


def _for_those_left(prompt: _Prompt, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the decoder tells every layer about the tokens that entered the first one.

    Without a mask attention is causal, which is right for tokens in the order of position.
    """
    if prompt.told is not None:
        return prompt.told
    positions_BS = prompt.tokens.positions
    assert prompt.arrived_BS is not None
    prompt.told = {}
    if positions_BS.shape != prompt.arrived_BS.shape:
        slots_BS = torch.searchsorted(prompt.arrived_BS, positions_BS)
        cos_BSD, sin_BSD = kwargs["position_embeddings"]
        prompt.told = {
            "position_embeddings": (
                rows_for_all(cos_BSD, slots_BS),
                rows_for_all(sin_BSD, slots_BS),
            ),
            "position_ids": positions_BS,
            "attention_mask": None,
        }
    return prompt.told
