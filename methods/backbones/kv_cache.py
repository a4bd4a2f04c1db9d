"""A key/value cache that really shrinks when entries are evicted.

Shapes: B sequences, K key/value heads, S entries held, D channels of a head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


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
        return int(sum(t.untyped_storage().nbytes() for t in (self.keys, self.values)))

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

    def truncate(self, seen: int) -> None:
        """Forget every token from position ``seen`` on; the tail's memory is given back."""
        if self.seen > seen:
            self.hold(self.keys[..., :seen, :].clone(), self.values[..., :seen, :].clone(), seen)


def new_cache(num_layers: int) -> Any:
    """An empty cache of evictable layers."""
    return Cache(layers=[EvictableLayer() for _ in range(num_layers)])
