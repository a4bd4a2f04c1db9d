"""SnapKV: keep what the prompt's last queries look at, in clusters, and the latest entries.

"SnapKV: LLM Knows What You are Looking for Before Generation" (arXiv:2404.14469), section 4,
listing 1. Official code: github.com/FasterDecoding/SnapKV (``snapkv/monkeypatch/snapkv_utils.py``).
Attention from the queries of an observation window to all earlier entries is summed, smoothed along
the sequence by pooling, and the best entries are kept together with the window itself. Defaults are
those of the official ``init_snapkv``.

Where we differ:

- The official code refuses budgets that the window fills. Here the window, as observer and as what
  is kept, shrinks to half of the budget (rounded down; at least one query observes), so that half
  of any budget is selected. A budget of one entry is the best-scored one.
- With grouped queries, scores are averaged over the heads that share a cache
  (github.com/FasterDecoding/SnapKV/issues/22); the official code repeats keys and values first and
  caches one copy per query head.
- Kept entries stay in their original order; the official code leaves them sorted by score, which no
  attention can tell.

NVIDIA/kvpress's SnapKVPress keeps what this does for windows up to half of the budget; its window
is 64 by default and does not shrink.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d

from methods.base import Paper, ScoringMethod
from methods.contexts import CacheContext
from methods.kernels import KernelSize
from methods.kv._attention import received_attention


class SnapKV(ScoringMethod[CacheContext]):
    """Keep what an observation window attends to, and the window."""

    paper: ClassVar[Paper | None] = Paper(
        title="SnapKV: LLM Knows What You are Looking for Before Generation",
        arxiv="2404.14469",
        code="https://github.com/FasterDecoding/SnapKV",
        catalogue="snapkv",
    )

    window_size: int = Field(default=32, ge=1, description="Latest queries that observe.")
    kernel_size: KernelSize = Field(
        default=5, ge=1, description="Entries over which scores are pooled; odd, 1 pools nothing."
    )
    pooling: Literal["average", "max"] = Field(default="average", description="Kind of pooling.")

    def score(self, ctx: CacheContext) -> Tensor:
        """Pooled attention from the window, with the window's own entries above everything."""
        kept = min(self.window_size, ctx.num_keep // 2)
        observers = max(kept, 1)
        window_start = max(ctx.queries_BGTD.shape[2] - observers, ctx.num_in - kept)
        received_BN = received_attention(ctx, observers)
        scores_BN = torch.full_like(received_BN, float("inf"))
        scores_BN[:, :window_start] = self._pool(received_BN[:, :window_start])
        return scores_BN

    def _pool(self, scores_BN: Tensor) -> Tensor:
        pool = avg_pool1d if self.pooling == "average" else max_pool1d
        pooled_BN: Tensor = pool(
            scores_BN[:, None], self.kernel_size, stride=1, padding=self.kernel_size // 2
        )
        return pooled_BN[:, 0]
