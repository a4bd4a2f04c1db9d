"""Oracle top-k: each step reads the entries that it attends to most.

Control, no paper: the selection that Quest and TidalDecode try to foresee. It compares the query
with every key to find them, which is counted, so that it saves the reading of values at best.
"""

from __future__ import annotations

from methods.attention._base import ReadContext, Reading, SparseAttention, best


class OracleTopK(SparseAttention):
    """The entries with the largest attention, known because all of it is computed first."""

    def read(self, ctx: ReadContext) -> Reading:
        """The best by attention summed over the query heads of a group."""
        attention_BHS = ctx.logits_against(ctx.keys_BKSD).float().softmax(-1)
        return Reading(best(ctx.shared(attention_BHS), ctx.num_read), compared=ctx.num_entries)
