"""Builds the cache of an edited prompt from that of the prompt before.

Shapes: B sequences, T tokens before the edit, F tokens encoded, K key/value heads, S entries behind
the edit that are reused, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from methods.backbones.base import Compression, VacuousCompressionError
from methods.edit._base import CacheEdit, Edit, EditContext

if TYPE_CHECKING:
    from methods.backbones.library.kv_cache import EvictableLayer

MOVING_ROTATIONS = ("dynamic", "longrope")
"""Rotary embeddings whose frequencies follow the sequence's length."""


@dataclass(frozen=True)
class KnownCache:
    """What is cached of ``tokens_BT``: keys and values [B, K, T, D] of every layer."""

    tokens_BT: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]


class CacheEditor:
    """Edits the prompts of one ``compressed`` block; known caches are left as they are."""

    def __init__(self, method: CacheEdit, model: Any, compression: Compression) -> None:
        self.method = method
        self.compression = compression
        self._decoder = model.base_model
        self._edits = 0
        self._without_effect = 0

    def fill(self, cache: Any, known: KnownCache, edit: Edit) -> None:
        """Let the empty ``cache`` hold the edited prompt."""
        num_behind = known.tokens_BT.shape[1] - edit.end
        resumed = edit.end + self.method.num_encoded(num_behind)
        for layer, (keys, values) in zip(cache.layers, known.layers, strict=True):
            layer.lazy_initialization(keys, values)
            layer.hold(keys[:, :, : edit.start], values[:, :, : edit.start], edit.start)
        again_BF = known.tokens_BT[:, edit.end : resumed]
        fed_BF = torch.cat([edit.replacement_BR.to(again_BF), again_BF], dim=1)
        if fed_BF.shape[1]:
            self._decoder(fed_BF, past_key_values=cache, use_cache=True)
        with self.compression.timed(again_BF.device):
            for layer, (keys, values) in zip(cache.layers, known.layers, strict=True):
                self._append(layer, keys[:, :, resumed:], values[:, :, resumed:], resumed, edit)
        self.note(reused=edit.start + known.tokens_BT.shape[1] - resumed)

    def note(self, reused: int) -> None:
        """A prompt came by of which so many entries were reused."""
        self._edits += 1
        self._without_effect += not reused

    def require_effect(self) -> None:
        """Raise if a prompt was read that made no use of a cache from before an edit."""
        if self._without_effect or not self._edits:
            raise VacuousCompressionError(
                f"{self._without_effect} of {self._edits} prompts reused no entry; "
                f"{self.method.id()} needs prompts that are edited"
            )

    def _append(
        self, layer: EvictableLayer, keys_BKSD: Tensor, values_BKSD: Tensor, first: int, edit: Edit
    ) -> None:
        """Add the entries that ``first`` was the position of the first of."""
        context = EditContext(
            keys_BKSD=keys_BKSD,
            positions_S=first + torch.arange(keys_BKSD.shape[2], device=keys_BKSD.device),
            shift=edit.shift,
            rotary=self._rotary,
        )
        layer.hold(
            torch.cat([layer.keys, self.method.keys(context)], dim=2),
            torch.cat([layer.values, values_BKSD], dim=2),
            layer.seen + keys_BKSD.shape[2],
        )

    def _rotary(self, positions_S: Tensor) -> tuple[Tensor, Tensor]:
        """The model's own cosines and sines, float32 [S, D] each."""
        like = torch.empty(0, dtype=torch.float32, device=positions_S.device)
        cos_1SD, sin_1SD = self._decoder.rotary_emb(like, positions_S[None])
        return cos_1SD[0], sin_1SD[0]


def known_cache(tokens_BT: Tensor, cache: Any, read: Callable[[Tensor, Any], object]) -> KnownCache:
    """What ``read(tokens_BT, cache)`` leaves in the empty ``cache``."""
    read(tokens_BT, cache)
    return KnownCache(tokens_BT, tuple((layer.keys, layer.values) for layer in cache.layers))


def why_keys_cannot_turn(config: Any) -> str | None:
    """Why a model's cached keys cannot be moved by a rotation, in one sentence, or None."""
    parameters = getattr(config, "rope_parameters", None)
    if not parameters or "rope_type" not in parameters:
        return "its positions are no rotary embedding that all layers share"
    if parameters["rope_type"] in MOVING_ROTATIONS:
        return (
            f"its rotary frequencies ({parameters['rope_type']}) change with the length, so that "
            "cached keys cannot be moved by a rotation"
        )
    return None
