"""The attention tap that compresses a cache while the prompt is read, and masks what is read later.

Shapes: B sequences, H query heads, K key/value heads, Q tokens fed at once, S entries a layer
holds, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from methods.backbones.attention_tap import AttentionCall
from methods.backbones.base import Compression, layer_generator
from methods.backbones.effect import Effect
from methods.backbones.foresight import Foresight
from methods.backbones.reading_masks import hiding, per_query_head, reading_mask
from methods.contexts import CacheContext
from methods.kv._base import HeadwiseMethod, MergesValues
from methods.schedule import num_held
from methods.transform import TokenTransform

if TYPE_CHECKING:
    from methods.backbones.library.kv_cache import EvictableLayer


@dataclass
class _Sequence:
    """The prompt under way: its cache, and what reading the compressed layers needs."""

    layers: list[EvictableLayer]
    num_dropped: int
    size_bias: dict[int, Tensor | None]
    """Additive mask [B, H, 1, S] of a compressed layer; None where nothing is weighed or hidden."""
    filled: set[int]

    @property
    def compressed(self) -> bool:
        return bool(self.size_bias)


class CacheCompressor:
    """Compresses each layer's entries while the prompt is read, and masks what is read later.

    An instance serves one ``compressed`` block; its ``tap`` is attached to every attention module.
    A layer is compressed as soon as its prompt entries exist: the attention call under way still
    uses all of them, and neither they nor the queries outlive it.
    """

    def __init__(
        self,
        method: Any,
        held: Sequence[float],
        seed: int,
        modules: Sequence[nn.Module],
        compression: Compression,
    ) -> None:
        self.method = method
        self.held = tuple(held)
        self.seed = seed
        self.compression = compression
        self.transforms = compression.transforms["kv"]
        self.number = -1
        self.reads = 0
        self._effect = Effect(held)
        self._index = {module: layer for layer, module in enumerate(modules)}
        self._sequence: _Sequence | None = None
        self._rehearsing = False
        self._looking_away = False
        self._foresight = Foresight()

    @contextmanager
    def sequence(self, cache: Any, num_dropped: int) -> Iterator[None]:
        """Everything from reading a prompt to the last token.

        The entries of the prompt's last ``num_dropped`` tokens are not cached, those before are
        cut.
        """
        self.number += 1
        self.transforms.clear()
        self.reads = self.compression.reads = 0
        self._sequence = _Sequence(cache.layers, num_dropped, {}, set())
        try:
            yield
        finally:
            self._sequence = None
        self._effect.saw(bool(self.transforms and self.reads))

    @property
    def must_foresee(self) -> bool:
        """Whether something will be cut by a method that has to know what is read later."""
        return bool(self.method.needs_future and min(self.held) < 1)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Calls in which nothing is compressed and the attention to the prompt is noted."""
        self._rehearsing, self._foresight = True, Foresight()
        try:
            yield
        finally:
            self._rehearsing = False

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Calls that read no prompt into a cache: they are none of the compressor's business."""
        self._looking_away = True
        try:
            yield
        finally:
            self._looking_away = False

    def record(self) -> None:
        """Note what the caches hold; called when the prompt has been read."""
        assert self._sequence is not None
        layers = self._sequence.layers
        self.compression.tokens_per_layer = [layer.held for layer in layers]
        num_sequences = layers[0].keys.shape[0]
        self.compression.kv_bytes = sum(layer.num_bytes for layer in layers) // num_sequences

    def require_effect(self) -> None:
        """Raise if compression was asked for and a forward pass did without."""
        self._effect.require("forward passes kept all entries, or nothing read what was kept")

    def tap(self, module: Any, call: AttentionCall) -> AttentionCall:
        """Compress on a layer's first call for a prompt, give the right mask on later ones."""
        layer = self._index[module]
        if self._rehearsing:
            self._foresight.note(layer, module.scaling, call)
            return call
        if self._looking_away:
            return call
        if self._sequence is None:
            self._note_stray_call(layer)
            return call
        if layer not in self._sequence.filled:
            self._sequence.filled.add(layer)
            self._compress(layer, module, call)
            return call
        self._note_read(layer)
        if not self._sequence.compressed:
            return call
        bias = self._sequence.size_bias.get(layer)
        return replace(call, mask=reading_mask(call.query_BHTD, call.key_BKND, bias))

    def _note_read(self, layer: int) -> None:
        assert self._sequence is not None
        is_compressed = layer in self._sequence.size_bias
        self.reads += is_compressed
        self.compression.reads += is_compressed

    def _note_stray_call(self, layer: int) -> None:
        """Somebody called the model past the backbone: a forward pass that is not compressed."""
        if layer == 0:
            self.number += 1
            self._effect.saw(happened=False)

    def _compress(self, layer: int, module: Any, call: AttentionCall) -> None:
        assert self._sequence is not None
        num_dropped = self._sequence.num_dropped
        num_cached = call.key_BKND.shape[2] - num_dropped
        num_keep = num_held(self.held[layer], num_cached)
        if num_keep >= num_cached:
            return
        query, key, value = call.query_BHTD, call.key_BKND, call.value_BKND
        with self.compression.timed(key.device):
            keys, values = key[:, :, :num_cached], value[:, :, :num_cached]
            context = self._context(layer, module, query, keys, values, num_keep)
            transform = self.method.transform(context)
            held = self._sequence.layers[layer]
            keep = _keep_headwise if isinstance(self.method, HeadwiseMethod) else self._keep
            self._sequence.layers[layer] = keep(held, context, transform, held.seen - num_dropped)
            padding_BKS = self._sequence.layers[layer].padding
            self._sequence.size_bias[layer] = (
                self._size_bias(transform, query, context)
                if padding_BKS is None
                else hiding(padding_BKS, query)
            )
        self.transforms[layer] = transform

    def _keep(
        self, layer: EvictableLayer, context: CacheContext, transform: TokenTransform, seen: int
    ) -> EvictableLayer:
        """The layer with W K and, unless the method merges values its own way, W V."""
        if isinstance(self.method, MergesValues):
            values_BKD = self.method.merged_values(context, transform)
        else:
            values_BKD = transform(context.values_BND)
        by_head = (-1, context.num_heads, *values_BKD.shape[1:])
        layer.hold(transform(context.keys_BND).view(by_head), values_BKD.view(by_head), seen)
        return layer

    def _context(
        self, layer: int, module: Any, query: Tensor, keys: Tensor, values: Tensor, num_keep: int
    ) -> CacheContext:
        """Sequences and key/value heads become one axis; query heads follow their group."""
        batch, num_heads, num_cached, width = keys.shape
        flat = batch * num_heads
        return CacheContext(
            sizes_BN=torch.ones(flat, num_cached, device=keys.device),
            num_keep=num_keep,
            layer=layer,
            num_layers=len(self.held),
            generator=layer_generator(self.seed, "kv", self.number, layer),
            keys_BND=keys.reshape(flat, num_cached, width),
            values_BND=values.reshape(flat, num_cached, width),
            queries_BGTD=query.reshape(flat, -1, *query.shape[2:]),
            scaling=module.scaling,
            num_heads=num_heads,
            future_BN=self._foresight.received_BN.get(layer),
        )

    def _size_bias(
        self, transform: TokenTransform, query: Tensor, context: CacheContext
    ) -> Tensor | None:
        if not self.method.proportional_attention:
            return None
        sizes_BK = transform.sizes(context.sizes_BN)
        by_head = sizes_BK.log().view(-1, context.num_heads, transform.num_out)
        return per_query_head(by_head, query)


def _keep_headwise(
    layer: EvictableLayer, context: CacheContext, transform: TokenTransform, seen: int
) -> EvictableLayer:
    """A layer in which every head holds its own number of entries."""
    flat = (transform.batch, transform.num_in, -1)
    heads_BF = transform.cols // context.num_in
    lengths_BK = heads_BF.new_zeros(transform.batch, context.num_heads)
    lengths_BK.scatter_add_(1, heads_BF, torch.ones_like(heads_BF))
    keys_BFD = transform(context.keys_BND.reshape(flat))
    values_BFD = transform(context.values_BND.reshape(flat))
    return layer.ragged(keys_BFD, values_BFD, lengths_BK, seen)
