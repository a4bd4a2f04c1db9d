"""Prefix reuse: entries before the edit are reused, everything behind is encoded anew.

No paper of its own; what servers with prefix caching do. It is lossless, as nothing before an edit
has read it, and what it saves is where the edit is: nothing at the front, everything at the end.
A method that reuses more has to be compared with it, not only with recomputing the whole prompt.
"""

from __future__ import annotations

from torch import Tensor

from methods.edit._base import CacheEdit, EditContext


class PrefixReuse(CacheEdit):
    """No entry behind the edit is reused."""

    @property
    def fixed_ratio(self) -> float:
        """It promises nothing; operations are measured."""
        return 1.0

    def num_encoded(self, num_behind: int) -> int:
        """All entries behind the edit are encoded anew."""
        return num_behind

    def keys(self, ctx: EditContext) -> Tensor:
        """No entry is left to have one."""
        return ctx.keys_BKSD
