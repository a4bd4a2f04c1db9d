"""A cache layer that really holds its older entries in few bits.

Shapes: B sequences, K key/value heads, S entries, D channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.backbones.library.kv_cache import EvictableLayer
from methods.storage._base import CacheFormat, Packed


class QuantisedLayer(EvictableLayer):
    """Entries in groups of few bits, then those that wait in full precision, in order.

    Full precision holds until :meth:`settle`, so that a prompt is read and compressed as ever.
    """

    def __init__(self, method: CacheFormat) -> None:
        super().__init__()
        self.method = method
        self.packed: list[tuple[Packed, Packed]] = []
        self.settled = False
        self.ever_packed = False

    @property
    def num_packed(self) -> int:
        """Entries in few bits."""
        return sum(keys.scale.shape[-2] * keys.size for keys, _ in self.packed)

    @property
    def held(self) -> int:
        """Entries S per sequence and head, in whatever format."""
        return super().held + self.num_packed

    @property
    def num_bytes(self) -> int:
        """Bytes of the storages behind all entries."""
        tensors = (t for pair in self.packed for packed in pair for t in packed.tensors)
        return super().num_bytes + sum(t.untyped_storage().nbytes() for t in tensors)

    def settle(self) -> None:
        """Quantise every whole group of entries that is older than the residual."""
        self.settled = True
        group = self.method.group_size
        waiting = self.keys.shape[2]
        count = max(0, waiting - self.method.residual) // group * group
        if not count:
            return
        keys, values = self.keys[:, :, :count], self.values[:, :, :count]
        self.ever_packed = True
        self.packed.append((self.method.pack_keys(keys), self.method.pack_values(values)))
        self.keys = self.keys[:, :, count:].clone()  # the old storage is given back
        self.values = self.values[:, :, count:].clone()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append entries; returns all of them in full precision."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        if not self.settled:
            return keys, values
        older = [(k.unpack(), v.unpack()) for k, v in self.packed]
        self.settle()
        return (
            torch.cat([*(k for k, _ in older), keys], dim=2),
            torch.cat([*(v for _, v in older), values], dim=2),
        )
