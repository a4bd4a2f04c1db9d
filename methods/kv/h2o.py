"""H2O: keep the entries that received most attention, and the latest.

"H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models"
(arXiv:2306.14048), section 4, algorithm 1. Official code: github.com/FMInference/H2O
(``h2o_hf/utils_real_drop/modify_llama.py``). A token's score is the attention it has received from
every query so far; half of the budget goes to the highest scores, half to the latest tokens.

Where we differ:

- As in the official code that really drops entries, all prompt queries attend to the full prompt
  and one cut follows. Algorithm 1 evicts token by token while the prompt is read, so that a query's
  attention never reaches what was evicted before it.
- The cut happens once; the official code goes on evicting while it generates.
- With grouped queries, scores are averaged over the heads that share a cache; the official code
  knows models with one cache per query head, where both are the same.
- In batches, each sequence is scored by itself; the official code sums over the batch.

NVIDIA/kvpress's ObservedAttentionPress is related: it divides the sum by the number of queries that
saw the entry, and keeps no latest entries.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper
from methods.contexts import CacheContext
from methods.kv._attention import received_attention
from methods.kv._recent import RecentAndBest


class H2O(RecentAndBest):
    """Keep heavy hitters and recent entries."""

    paper: ClassVar[Paper | None] = Paper(
        title="H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language "
        "Models",
        arxiv="2306.14048",
        code="https://github.com/FMInference/H2O",
    )

    def merit(self, ctx: CacheContext) -> Tensor:
        """Attention received from all prompt queries."""
        return received_attention(ctx, ctx.queries_BGTD.shape[2])
