"""Attention top-k: keep the patches that the class token attends to most.

"Which Tokens to Use? Investigating Token Reduction in Vision Transformers" (arXiv:2308.04657)
calls this baseline Top-K: EViT (arXiv:2202.07800) without the fused token. Scores are the class
token's attention in the block's own softmax, averaged over heads, as in EViT's official code.
Nothing differs but the order of the kept patches, which is the original one here.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.vision._class_attention import class_attention


class AttentionTopK(ScoringMethod[VisionContext]):
    """Prunes the patches with the least class-token attention."""

    paper: ClassVar[Paper | None] = Paper(
        title="Which Tokens to Use? Investigating Token Reduction in Vision Transformers",
        arxiv="2308.04657",
        code="https://github.com/JoakimHaurum/TokenReduction",
    )
    home: ClassVar[Schedule] = Progressive()
    needs_cls: ClassVar[bool] = True

    def score(self, ctx: VisionContext) -> Tensor:
        """Class-token attention averaged over heads, [B, N], in [0, 1]."""
        return class_attention(ctx)
