"""Attention top-k: keep the patches that the class token attends to most.

"Which Tokens to Use? Investigating Token Reduction in Vision Transformers" (arXiv:2308.04657)
calls this baseline Top-K: EViT (arXiv:2202.07800) without the fused token. Scores are the class
token's attention in the block's own softmax, averaged over heads, as in EViT's official code.
Nothing differs but the order of the kept patches, which is the original one here.
"""

from __future__ import annotations

from typing import ClassVar

from methods.base import Paper
from methods.schedule import Progressive, Schedule
from methods.vision._class_attention import ClassAttentionMethod


class AttentionTopK(ClassAttentionMethod):
    """Prunes the patches with the least class-token attention."""

    paper: ClassVar[Paper | None] = Paper(
        title="Which Tokens to Use? Investigating Token Reduction in Vision Transformers",
        arxiv="2308.04657",
        code="https://github.com/JoakimHaurum/TokenReduction",
    )
    home: ClassVar[Schedule] = Progressive()
