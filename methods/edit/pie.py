"""PIE, Positional Integrity Encoding: reused keys are turned to their new positions.

"Let the Code LLM Edit Itself When You Edit the Code" (arXiv:2407.03157), section 3.2. Where tokens
i..j give way to m others, the entry of a later token moves from position p to p + (i + m - j): its
key is freed of its rotary matrix R(p) and given R(p + i + m - j), which together is one rotation
R(i + m - j), the same for all of them. Values are reused, and so is whatever keys and values have
read of the old text: PIE repairs the temporal confusion of an edit, not its meaning. The authors'
repository, github.com/zhenyuhe00/PIE, holds no code, so details that the abstract and accounts of
the paper leave open are our reading: several edits at once are not done, and the token to be
answered is encoded at the end of the edited text.

The rotation is element-wise, so operations in PyTorch's convention do not contain it; time does.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper
from methods.edit._base import CacheEdit, EditContext
from methods.edit._rotary import between, turned


class PIE(CacheEdit):
    """All entries behind the edit are reused, their keys at the new positions."""

    paper: ClassVar[Paper | None] = Paper(
        title="Let the Code LLM Edit Itself When You Edit the Code",
        arxiv="2407.03157",
        code="https://github.com/zhenyuhe00/PIE",
        catalogue="pie",
    )

    def keys(self, ctx: EditContext) -> Tensor:
        """Un-rotated and rotated again, in one step."""
        old, new = ctx.rotary(ctx.positions_S), ctx.rotary(ctx.positions_S + ctx.shift)
        return turned(ctx.keys_BKSD, between(old, new))
