"""A key/value cache that really shrinks when entries are evicted.

Shapes: B sequences, K key/value heads, S entries held, F entries of all heads together, D channels
of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from methods.transform import rows_of


class EvictableLayer(DynamicLayer):  # type: ignore[misc]  # transformers ships no types
    """One layer's entries [B, K, S, D], which know how many tokens they were made from.

    Positions of new tokens follow from the number of tokens *seen*; transformers would otherwise
    take the number of entries *held*, and evicting any would silently shift all later positions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    @property
    def held(self) -> int:
        """Entries S per sequence and head."""
        return int(self.keys.shape[-2]) if self.is_initialized else 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the storages behind keys and values, whatever part of them is in use."""
        return _storage_bytes(self.keys, self.values)

    @property
    def padding(self) -> Tensor | None:
        """Which of the first entries that ``update`` returns mean nothing, bool [B, K, S]."""
        return None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append entries; returns all of them."""
        self.seen += key_states.shape[-2]
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        return keys, values

    def get_seq_length(self) -> int:
        """Tokens seen: the position of the next one."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length of the mask and position of its first column."""
        return self.held + query_length, self.seen - self.held

    def hold(self, keys_BKSD: Tensor, values_BKSD: Tensor, seen: int) -> None:
        """Replace all entries by these, made from the first ``seen`` tokens."""
        self.keys, self.values, self.seen = keys_BKSD, values_BKSD, seen

    def ragged(
        self, keys_BFD: Tensor, values_BFD: Tensor, lengths_BK: Tensor, seen: int
    ) -> RaggedLayer:
        """What takes this layer's place if heads hold different numbers of entries."""
        assert type(self) is EvictableLayer, "no other format stores heads that differ in length"
        return RaggedLayer(keys_BFD, values_BFD, lengths_BK, seen)

    def settle(self) -> None:
        """The prompt has been read and cut: take the form in which entries are held."""

    def skip(self, num_tokens: int) -> None:
        """Count tokens that left no entry, because they were taken out before this layer."""
        self.seen += num_tokens

    def truncate(self, seen: int) -> None:
        """Forget every token from position ``seen`` on; the tail's memory is given back.

        Each of them has an entry in ``keys`` and ``values``.
        """
        if self.seen > seen:
            end = self.keys.shape[-2] - (self.seen - seen)
            self.hold(self.keys[..., :end, :].clone(), self.values[..., :end, :].clone(), seen)


class RaggedLayer(EvictableLayer):
    """One layer whose heads hold different numbers of the prompt's entries.

    They lie in ``front_keys`` and ``front_values`` [B, F, D], head after head, ``lengths_BK`` each;
    F is the same for all sequences. What is appended later is the same for all heads and lies in
    ``keys`` and ``values`` as in any layer. Padding exists only in what ``update`` returns.
    """

    def __init__(
        self, front_keys_BFD: Tensor, front_values_BFD: Tensor, lengths_BK: Tensor, seen: int
    ) -> None:
        super().__init__()
        batch, num_heads = lengths_BK.shape
        width = front_keys_BFD.shape[-1]
        self.front_keys, self.front_values = front_keys_BFD, front_values_BFD
        self.lengths_BK = lengths_BK.int()
        self.longest = int(lengths_BK.max())
        self._slots_BS = self._slots(front_keys_BFD.shape[1])
        self.lazy_initialization(front_keys_BFD, front_values_BFD)
        self.hold(
            front_keys_BFD.new_empty(batch, num_heads, 0, width),
            front_values_BFD.new_empty(batch, num_heads, 0, width),
            seen,
        )

    @property
    def held(self) -> int:
        """Entries per sequence and head, on average over the heads."""
        return int(self.front_keys.shape[1] // self.lengths_BK.shape[1] + super().held)

    @property
    def num_bytes(self) -> int:
        """Bytes of the storages behind all keys and values.

        The table of lengths, 4 bytes per head, is not among them.
        """
        return _storage_bytes(self.front_keys, self.front_values) + super().num_bytes

    @property
    def padding(self) -> Tensor:
        """What lies behind the entries of every head but the longest, bool [B, K, longest]."""
        slots_S = torch.arange(self.longest, device=self.lengths_BK.device)
        return slots_S >= self.lengths_BK[..., None]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append entries; returns all of them, the prompt's padded to the longest head."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        return (
            torch.cat([self._padded(self.front_keys), keys], dim=2),
            torch.cat([self._padded(self.front_values), values], dim=2),
        )

    def _padded(self, front_BFD: Tensor) -> Tensor:
        """[B, F, D] to [B, K, longest, D]; what lies in the padding is some other entry."""
        shape = (*self.lengths_BK.shape, self.longest, front_BFD.shape[2])
        return rows_of(front_BFD, self._slots_BS).view(shape)

    def _slots(self, num_entries: int) -> Tensor:
        """Which entry lies in which slot of the padded form, [B, K * longest]."""
        starts_BK = self.lengths_BK.cumsum(1) - self.lengths_BK
        slots_S = torch.arange(self.longest, device=starts_BK.device)
        return (starts_BK[..., None] + slots_S).clamp(max=num_entries - 1).flatten(1)


def _storage_bytes(*tensors: Tensor) -> int:
    return int(sum(t.untyped_storage().nbytes() for t in tensors))


def new_cache(num_layers: int, layer: Callable[[], EvictableLayer] = EvictableLayer) -> Any:
    """An empty cache of layers that ``layer`` makes."""
    return Cache(layers=[layer() for _ in range(num_layers)])
