"""What reuses a cache after its prompt was edited.

Shapes: B sequences, T tokens before the edit, R tokens put in, K key/value heads, S entries behind
the edit, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Method
from methods.places import Place

NOMINAL_SHARE = 0.15  # of a full recomputation: the paper on this task saves "over 85%"


@dataclass(frozen=True)
class Edit:
    """Tokens ``start`` to ``start + length`` of every sequence give way to ``replacement_BR``.

    An insertion has ``length`` 0, a deletion R = 0. Raises ValueError for negative numbers.
    """

    start: int
    length: int
    replacement_BR: Tensor

    def __post_init__(self) -> None:
        if self.start < 0 or self.length < 0:
            raise ValueError(
                f"start and length of an edit are at least 0; got {self.start} and {self.length}"
            )

    @property
    def end(self) -> int:
        """Position, before the edit, of the first token behind it."""
        return self.start + self.length

    @property
    def shift(self) -> int:
        """How far the edit moves what stands behind it; negative towards the front."""
        return self.replacement_BR.shape[1] - self.length

    def applied(self, before_BT: Tensor) -> Tensor:
        """The edited tokens, [B, T + shift]. Raises ValueError if the edit does not lie within."""
        if self.end > before_BT.shape[1]:
            raise ValueError(f"an edit up to {self.end} does not fit {before_BT.shape[1]} tokens")
        parts = (before_BT[:, : self.start], self.replacement_BR, before_BT[:, self.end :])
        return torch.cat(parts, dim=1)


@dataclass(frozen=True, kw_only=True)
class EditContext:
    """One layer's entries behind an edit, as they were cached before it.

    ``keys_BKSD`` are after rotary embedding at ``positions_S`` (long), where their tokens stood
    before the edit; they stand ``shift`` further on now. ``rotary`` gives the cosines and sines
    with which the model turns a key at any positions: float32 [S, D] each, the second half of the
    channels like the first.
    """

    keys_BKSD: Tensor
    positions_S: Tensor
    shift: int
    rotary: Callable[[Tensor], tuple[Tensor, Tensor]]


class CacheEdit(Method):
    """Builds the cache of an edited prompt from the cache of the prompt before.

    Entries before the edit are right as they are. The tokens put in are always encoded, reading
    what stands before them. Behind the edit every entry has been moved, and has read a text that is
    no longer there; a method says which of them are encoded anew and what becomes of the others'
    keys. Values hold no positions and are reused as they are.

    There is no budget: how many tokens are encoded, only the edit decides.
    """

    places: ClassVar[tuple[Place, ...]] = ("edit",)

    @property
    def fixed_ratio(self) -> float:
        """Nominal, as no method can know the edits to come; operations are measured."""
        return NOMINAL_SHARE

    @property
    def simulated(self) -> frozenset[str]:
        """Memory: the cache from before the edit is there already and not counted."""
        return frozenset({"peak_memory", "peak_bytes"})

    def num_encoded(self, num_behind: int) -> int:  # noqa: ARG002 - none of them
        """How many of the first tokens behind the edit are encoded anew, 0 to ``num_behind``."""
        return 0

    def keys(self, ctx: EditContext) -> Tensor:
        """The keys with which entries behind the edit are reused, [B, K, S, D]."""
        raise NotImplementedError
