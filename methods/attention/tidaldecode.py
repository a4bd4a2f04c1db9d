"""TidalDecode: select positions in a few layers, read them in all layers that follow.

"TidalDecode: Fast and Accurate LLM Decoding with Position Persistent Sparse Attention"
(arXiv:2410.05076), section 3, algorithm 1. Official code: github.com/DerrickYLJ/TidalDecode. The
entries that matter to a token are much the same from one layer to the next. The first layers and
two selection layers read everything; a selection layer's largest attention logits name the entries
that every later layer reads, until the next selection layer names others.

Where we differ: positions are chosen for each key/value head by the sum of the attention logits of
the query heads that share it, and the new token's own entry is always one of them.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from methods.attention._base import ReadContext, Reading, SparseAttention, best
from methods.base import Paper


class TidalDecode(SparseAttention):
    """Positions persist from a selection layer to the layers behind it."""

    paper: ClassVar[Paper | None] = Paper(
        title="TidalDecode: Fast and Accurate LLM Decoding with Position Persistent Sparse "
        "Attention",
        arxiv="2410.05076",
        code="https://github.com/DerrickYLJ/TidalDecode",
        catalogue="tidaldecode",
    )

    select: int = Field(
        default=2, ge=0, description="First selection layer; the layers before it read everything."
    )
    reselect: int | None = Field(
        default=13, ge=0, description="Layer that selects again; ignored where there is none."
    )

    def read(self, ctx: ReadContext) -> Reading | None:
        """The persistent positions, or everything in the layers that select or come before."""
        if ctx.layer in (self.select, self.reselect):
            logits_BKS = ctx.shared(ctx.logits_against(ctx.keys_BKSD).float())
            ctx.step["entries"] = best(logits_BKS, ctx.num_read)
        if ctx.layer <= self.select or ctx.layer == self.reselect:
            return None
        return Reading(ctx.step["entries"])
