"""KeyDiff: keep the entries whose keys are least like the average key.

"KeyDiff: Key Similarity-Based KV Cache Eviction for Long-Context LLM Inference in
Resource-Constrained Environments" (arXiv:2504.15364), section 3. No official code is known;
NVIDIA/kvpress has the method (``keydiff_press.py``) and scores as here. A key's score is minus its
cosine similarity to the anchor, the mean of all normalised keys. Queries are not asked, so that a
question known or unknown makes no difference.

Where we differ: the paper compresses block by block while a long prompt is read, to bound memory;
here the cut happens once, after the prompt.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from methods.base import Paper, ScoringMethod
from methods.contexts import CacheContext


class KeyDiff(ScoringMethod[CacheContext]):
    """Keep keys that differ from the average key."""

    paper: ClassVar[Paper | None] = Paper(
        title="KeyDiff: Key Similarity-Based KV Cache Eviction for Long-Context LLM Inference in "
        "Resource-Constrained Environments",
        arxiv="2504.15364",
    )

    def score(self, ctx: CacheContext) -> Tensor:
        """Minus the cosine similarity to the mean of the normalised keys."""
        keys_BND = ctx.keys_BND.float()
        anchor_B1D = normalize(keys_BND, dim=-1).mean(1, keepdim=True)
        return -cosine_similarity(keys_BND, anchor_B1D, dim=-1)
