"""What chooses the cache entries that a decoding step reads.

Shapes: B sequences, H query heads, K key/value heads, S entries, R entries read, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Method
from methods.places import Place


@dataclass(frozen=True, kw_only=True)
class ReadContext:
    """One decoding step in one layer, before it reads its cache.

    ``query_BHD`` is the new token's query, ``keys_BKSD`` are all entries with the new token's own
    last, both after rotary embedding. ``num_read`` is the budget, 1 <= num_read < S, or S where a
    layer is asked for the sake of others. ``step`` lives for one step, from the first layer to the
    last; ``sequence`` for one layer of one prompt and its answer, for summaries of entries that
    need not be made again.
    """

    query_BHD: Tensor
    keys_BKSD: Tensor
    num_read: int
    layer: int
    num_layers: int
    scaling: float
    step: dict[str, Any] = field(default_factory=dict)
    sequence: dict[str, Any] = field(default_factory=dict)

    @property
    def num_entries(self) -> int:
        """Entries S of the cache, the new token's own among them."""
        return self.keys_BKSD.shape[2]

    @property
    def num_groups(self) -> int:
        """Query heads G that share one key/value head."""
        return self.query_BHD.shape[1] // self.keys_BKSD.shape[1]

    def logits_against(self, vectors_BKMD: Tensor) -> Tensor:
        """Scaled products of every query head with M vectors per key/value head, [B, H, M]."""
        repeated_BHMD = vectors_BKMD.repeat_interleave(self.num_groups, dim=1)
        products_BHM: Tensor = torch.einsum("bhd,bhmd->bhm", self.query_BHD, repeated_BHMD)
        return products_BHM * self.scaling

    def shared(self, scores_BHM: Tensor) -> Tensor:
        """Scores of query heads to one per key/value head, by their sum, [B, K, M]."""
        batch, num_heads, num_vectors = scores_BHM.shape
        return scores_BHM.view(batch, num_heads // self.num_groups, -1, num_vectors).sum(2)


@dataclass(frozen=True)
class Reading:
    """Entries to read, and what it took to choose them."""

    entries: Tensor
    """Long, distinct: [B, K, R], the same for the query heads of a group, or [B, H, R]."""
    compared: float = 0.0
    """Key-sized vectors per key/value head that the query was compared with to choose."""


class SparseAttention(Method):
    """A method that reads a part of the cache in each decoding step.

    The prompt is read with full attention. A question that arrives later is decoded token by token,
    like an answer.
    """

    places: ClassVar[tuple[Place, ...]] = ("attention",)

    def reads_all(self, layer: int) -> bool:  # noqa: ARG002
        """Whether this layer reads everything, whatever the budget."""
        return False

    def chooses_for_others(self, layer: int) -> bool:  # noqa: ARG002
        """Whether layers behind read what this one chooses.

        It is then asked even where it reads everything itself, and entry s has to be the same token
        in all of these layers.
        """
        return False

    def read(self, ctx: ReadContext) -> Reading | None:
        """The entries to read, ``ctx.num_read`` of them; None reads all.

        The last entry, the new token itself, should be among them.
        """
        raise NotImplementedError


def best(scores_BKS: Tensor, num_read: int) -> Tensor:
    """The ``num_read`` best entries by score, ascending; the last entry is always one of them."""
    return ranked(scores_BKS)[..., :num_read].sort(dim=-1).values


def ranked(scores_BKS: Tensor) -> Tensor:
    """All entries from the best to the worst; the last entry always comes first."""
    scores_BKS = scores_BKS.clamp(max=torch.finfo(scores_BKS.dtype).max)
    scores_BKS[..., -1] = torch.inf
    return scores_BKS.argsort(dim=-1, descending=True, stable=True)
