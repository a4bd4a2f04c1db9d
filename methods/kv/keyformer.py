"""Keyformer: H2O's accumulated attention with Gumbel noise, so that early winners stay contestable.

"Keyformer: KV Cache Reduction through Key Tokens Selection for Efficient Generative Inference"
(arXiv:2403.09054), section 3, algorithm 1. Official code: github.com/d-matrix-ai/keyformer-llm
(``models/gptj-keyformer-lib/modeling_gptj.py``). A token's score is the sum over all queries of
softmax((logits + Gumbel noise) / temperature); the latest entries are kept whatever their score.
The paper raises the temperature from 1 to 2 while answers are generated, because the distribution
gets more uncertain the more has been discarded. Defaults are those of the official code, whose
names ``tau_init`` and ``tau_delta`` are.

Where we differ:

- The official code reads the whole prompt at ``tau_init`` and adds ``tau_delta`` (0.01) with each
  generated token, cutting again every time. Here the cut happens once, after the prompt, so that
  the schedule would never leave its start: ``tau_delta`` is 0, and where it is given, it is added
  with each query of the prompt.
- With grouped queries, scores are averaged over the heads that share a cache.
- In batches, each sequence is scored by itself; the official code sums over the batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import CacheContext
from methods.gumbel import gumbel_like
from methods.kv._attention import logit_blocks, no_attention
from methods.kv._recent import RecentAndBest, RecentShare


class Keyformer(RecentAndBest):
    """Keep key tokens by a noisy accumulated score, and recent entries."""

    version: ClassVar[int] = 3
    paper: ClassVar[Paper | None] = Paper(
        title="Keyformer: KV Cache Reduction through Key Tokens Selection for Efficient "
        "Generative Inference",
        arxiv="2403.09054",
        code="https://github.com/d-matrix-ai/keyformer-llm",
        catalogue="keyformer",
    )

    recent_share: RecentShare = 0.3
    tau_init: float = Field(
        default=1.0, gt=0, description="Temperature of the Gumbel softmax for the first query."
    )
    tau_delta: float = Field(
        default=0.0, ge=0, description="Added to the temperature with each query."
    )

    def merit(self, ctx: CacheContext) -> Tensor:
        """Noisy attention received from all queries."""
        merit_BN = no_attention(ctx)
        for start, logits_BGRC in logit_blocks(ctx, ctx.queries_BGTD.shape[2]):
            noisy_BGRC = logits_BGRC.add_(gumbel_like(logits_BGRC, ctx.generator))
            steps_R = torch.arange(start, start + logits_BGRC.shape[2], device=ctx.device)
            tau_R1 = (self.tau_init + self.tau_delta * steps_R)[:, None]
            rows_BGRC = noisy_BGRC.div_(tau_R1).softmax(-1)
            merit_BN[:, : rows_BGRC.shape[3]] += rows_BGRC.sum(2).mean(1)
        return merit_BN
