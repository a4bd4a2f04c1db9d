"""TOVA: keep what the last query attends to, one choice for all heads of a layer.

"Transformers are Multi-State RNNs" (arXiv:2401.06104), the policy Token Omission Via Attention.
Official code: github.com/schwartz-lab-NLP/TOVA (``src/tova_cache.py``). Attention of the last query
is averaged over all heads of the layer, and the layer keeps the tokens with the highest average.

Where we differ:

- The cut happens once, after the prompt, by the prompt's last query; the official code drops one
  token per generated token by the query of the moment.
- Where the prompt's last token is fed again after the cut, its own entry is not in the cache yet
  and takes no part in the softmax; it is appended whatever its attention.

NVIDIA/kvpress's TOVAPress keeps the last entry whatever its attention, which the paper does not.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import CacheContext
from methods.kv._attention import received_attention


class TOVA(ScoringMethod[CacheContext]):
    """Keep the tokens that the last query attends to."""

    paper: ClassVar[Paper | None] = Paper(
        title="Transformers are Multi-State RNNs",
        arxiv="2401.06104",
        code="https://github.com/schwartz-lab-NLP/TOVA",
    )

    def score(self, ctx: CacheContext) -> Tensor:
        """The last query's attention, averaged over all heads of the layer."""
        received_BN = received_attention(ctx, 1)
        by_head = received_BN.view(-1, ctx.num_heads, ctx.num_in)
        return by_head.mean(1, keepdim=True).expand_as(by_head).reshape_as(received_BN)
