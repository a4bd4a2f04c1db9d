"""TidalDecode: select positions in a few layers, read them in all layers that follow.

"TidalDecode: Fast and Accurate LLM Decoding with Position Persistent Sparse Attention"
(arXiv:2410.05076), section 3, algorithm 1. Official code: github.com/DerrickYLJ/TidalDecode. The
entries that matter to a token are much the same from one layer to the next. The first layers and
two selection layers read everything; a selection layer's largest attention logits name the entries
that every later layer reads, until the next selection layer names others.

Where we differ: positions are chosen for each key/value head by the sum of the attention logits of
the query heads that share it, and the new token's own entry is always one of them. The paper gives
all layers one budget; where a schedule gives a layer less, it reads the best of what was selected.

Positions can only persist where entry s is the same token in every layer, so that caches cut layer
by layer are refused.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from methods.attention._base import ReadContext, Reading, SparseAttention, ranked
from methods.base import InfeasibleError, Paper


class TidalDecode(SparseAttention):
    """Positions persist from a selection layer to the layers behind it."""

    version: ClassVar[int] = 2
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

    def reads_all(self, layer: int) -> bool:
        """Whether a layer selects, or stands before the first that does: these read everything."""
        return layer <= self.select or layer == self.reselect

    def chooses_for_others(self, layer: int) -> bool:
        """Whether a layer selects the entries that those behind it read."""
        return layer in (self.select, self.reselect)

    def read(self, ctx: ReadContext) -> Reading | None:
        """The persistent positions, or everything in the layers that select or come before.

        Raises InfeasibleError where the layer that selected holds other entries.
        """
        if self.chooses_for_others(ctx.layer):
            logits_BKS = ctx.shared(ctx.logits_against(ctx.keys_BKSD).float())
            ctx.step["ranked"] = ranked(logits_BKS)
        if self.reads_all(ctx.layer):
            return None
        ranked_BKS = ctx.step["ranked"]
        if ranked_BKS.shape[2] != ctx.num_entries:
            raise InfeasibleError(
                f"tidaldecode reads in layer {ctx.layer} what an earlier layer selected, but that "
                f"one holds {ranked_BKS.shape[2]} entries and this one {ctx.num_entries}"
            )
        return Reading(ranked_BKS[..., : ctx.num_read].sort(dim=-1).values)
