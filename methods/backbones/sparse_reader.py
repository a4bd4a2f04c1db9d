"""The attention tap that lets each decoding step read a part of the cache.

Shapes: B sequences, H query heads, K key/value heads, S entries, R entries read, D channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from methods.attention._base import ReadContext, Reading, SparseAttention
from methods.backbones.attention_tap import AttentionCall
from methods.backbones.base import Compression, VacuousCompressionError
from methods.schedule import num_held


class SparseReader:
    """Gathers the entries that the method chooses, so that attention sees no others.

    An instance serves one ``compressed`` block. A prompt (several tokens at once) begins a new
    sequence and is read in full; a single token is a decoding step.
    """

    def __init__(
        self,
        method: SparseAttention,
        held: Sequence[float],
        modules: Sequence[nn.Module],
        compression: Compression,
    ) -> None:
        self.method = method
        self.held = tuple(held)
        self.compression = compression
        self._index = {module: layer for layer, module in enumerate(modules)}
        self._step: dict[str, Any] = {}
        self._sequence: dict[int, dict[str, Any]] = defaultdict(dict)
        self._partial = 0

    def tap(self, module: Any, call: AttentionCall) -> AttentionCall:
        """Leave prompts alone; narrow a step's keys and values to what is read."""
        layer = self._index[module]
        if call.query_BHTD.shape[2] > 1:
            self._sequence[layer] = {}
            return call
        if layer == 0:
            self._step = {}
        num_entries = call.key_BKND.shape[2]
        num_read = num_held(self.held[layer], num_entries)
        reading = None
        if num_read < num_entries or self.method.chooses_for_others(layer):
            reading = self._reading(layer, module, call, num_read)
        self._count(call, reading)
        return call if reading is None else _narrowed(call, reading.entries)

    def require_effect(self) -> None:
        """Raise if every step read everything although the schedule asks for less."""
        if min(self.held) < 1 and not self._partial:
            raise VacuousCompressionError(
                f"every decoding step read the whole cache, although the schedule asks for "
                f"{min(self.held):.4g} of it"
            )

    def _reading(
        self, layer: int, module: Any, call: AttentionCall, num_read: int
    ) -> Reading | None:
        context = ReadContext(
            query_BHD=call.query_BHTD[:, :, 0],
            keys_BKSD=call.key_BKND,
            num_read=num_read,
            layer=layer,
            num_layers=len(self.held),
            scaling=module.scaling,
            step=self._step,
            sequence=self._sequence[layer],
        )
        with self.compression.timed(call.key_BKND.device):
            return self.method.read(context)

    def _count(self, call: AttentionCall, reading: Reading | None) -> None:
        """An entry is a key and a value; a comparison costs a key."""
        batch, num_heads, num_entries, _ = call.key_BKND.shape
        read: float = num_entries
        if reading is not None:
            self._partial += 1
            share = reading.entries.shape[1] / num_heads
            read = reading.entries.shape[2] * share + reading.compared / 2
        self.compression.attended += batch * num_heads * read
        self.compression.visible += batch * num_heads * num_entries


def _narrowed(call: AttentionCall, entries_BKR: Tensor) -> AttentionCall:
    groups = entries_BKR.shape[1] // call.key_BKND.shape[1]
    index = entries_BKR[..., None].expand(-1, -1, -1, call.key_BKND.shape[-1])
    keys, values = (
        torch.gather(x.repeat_interleave(groups, dim=1), 2, index)
        for x in (call.key_BKND, call.value_BKND)
    )
    mask = call.mask
    if mask is not None and mask.shape[-1] > 1:
        mask = _gathered(mask, entries_BKR, call.query_BHTD.shape[1])
    return replace(call, key_BKND=keys, value_BKND=values, mask=mask)


def _gathered(mask: Tensor, entries_BKR: Tensor, num_query_heads: int) -> Tensor:
    """A mask's columns of the entries read, [B, H, 1, R]."""
    entries_BHR = entries_BKR.repeat_interleave(num_query_heads // entries_BKR.shape[1], dim=1)
    whole = mask.expand(entries_BHR.shape[0], num_query_heads, 1, -1)
    return whole.gather(3, entries_BHR[:, :, None])
