"""Kinds of cache compression that one W per key/value head does not describe."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Method
from methods.contexts import CacheContext
from methods.places import Place
from methods.transform import TokenTransform


class HeadwiseMethod(Method):
    """A method that gives the heads of a layer different budgets.

    A layer's budget is still ``num_keep`` entries per head on average, for each sequence, so that a
    batch stays even while its heads do not.
    """

    places: ClassVar[tuple[Place, ...]] = ("kv",)
    proportional_attention: ClassVar[bool] = False
    needs_future: ClassVar[bool] = False

    def transform(self, ctx: CacheContext) -> TokenTransform:
        """W over the entries of all heads of a sequence, head after head.

        It has ``B / num_heads`` sequences, ``num_heads * num_in`` columns and
        ``num_heads * num_keep`` rows, each of which holds one entry, in ascending order.
        """
        raise NotImplementedError


class MergesValues:
    """Mixin of methods that merge what is evicted into the kept values and leave the keys alone."""

    def merged_values(self, ctx: CacheContext, transform: TokenTransform) -> Tensor:
        """Values [B, K, D] of the entries that ``transform`` keeps.

        They need no W: sums are allowed, which are not convex.
        """
        raise NotImplementedError
