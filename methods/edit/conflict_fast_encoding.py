"""Conflict fast encoding: entries behind the edit stay as they are, at their old positions.

No paper of its own: the naive baseline of PIE's (arXiv:2407.03157). After an insertion entries
share positions, after a deletion a gap remains; relative distances across the edit are wrong.
"""

from __future__ import annotations

from torch import Tensor

from methods.edit._base import CacheEdit, EditContext


class ConflictFastEncoding(CacheEdit):
    """All entries behind the edit are reused, positions and all."""

    def keys(self, ctx: EditContext) -> Tensor:
        """The cached keys as they are, [B, K, S, D], with the positions of before the edit."""
        return ctx.keys_BKSD
