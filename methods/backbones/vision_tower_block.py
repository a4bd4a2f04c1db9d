"""How a family's layers are taken apart where tokens are reduced.

Shapes: B images, M tokens with the class token first, H heads, D channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class Block(ABC):
    """One layer of a tower, taken apart where tokens are reduced.

    ``attend`` and then ``feed_forward`` are the layer's own forward, bit for bit.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    @property
    @abstractmethod
    def attention(self) -> Any:
        """The attention module; it has ``q_proj`` and ``k_proj``."""

    @property
    @abstractmethod
    def scaling(self) -> float:
        """Factor on query-key products before softmax."""

    @abstractmethod
    def normed(self, hidden_BMD: Tensor) -> Tensor:
        """What the attention module reads."""

    @abstractmethod
    def attend(self, hidden_BMD: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
        """The residual stream after attention."""

    @abstractmethod
    def feed_forward(self, hidden_BMD: Tensor) -> Tensor:
        """The residual stream after the MLP."""

    def queries_and_keys(self, hidden_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """[B, H, M, D] both, for a residual stream before attention."""
        normed_BMD = self.normed(hidden_BMD)
        width = (*hidden_BMD.shape[:2], -1, self.attention.head_dim)
        query_BHMD = self.attention.q_proj(normed_BMD).view(width).transpose(1, 2)
        key_BHMD = self.attention.k_proj(normed_BMD).view(width).transpose(1, 2)
        return query_BHMD, key_BHMD
