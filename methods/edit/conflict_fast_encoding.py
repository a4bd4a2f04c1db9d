"""Conflict fast encoding: entries behind the edit stay as they are, at their old positions.

The naive baseline of PIE's paper (arXiv:2407.03157). After an insertion two entries share a
position, after a deletion a gap remains, and relative distances across the edit are wrong.
"""

from __future__ import annotations

from torch import Tensor

from methods.edit._base import CacheEdit, EditContext


class ConflictFastEncoding(CacheEdit):
    """All entries behind the edit are reused, positions and all."""

    def keys(self, ctx: EditContext) -> Tensor:
        """Just as cached."""
        return ctx.keys_BKSD
