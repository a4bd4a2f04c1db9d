"""FasterVLM: keep the visual tokens that the vision tower's class token attends to most.

"[CLS] Attention is All You Need for Training-Free Visual Token Pruning: Make VLM Inference Faster"
(arXiv:2412.01818), section 4: attention of the class token in the layer whose output is projected,
averaged over heads; the best tokens stay, in their order. Official code:
github.com/Theia-4869/FasterVLM (``llava/model/llava_arch.py``, ``encode_images``).

Every image, frame or crop keeps the same number of tokens, as in the official code. Nothing
differs at the doorstep; inside the language model the same scores are used for the tokens left.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper
from methods.contexts import VisualContext
from methods.vlm._selection import PerImageMethod
from methods.vlm._tower import class_attention


class FasterVLM(PerImageMethod):
    """Prunes by class-token attention of the projected layer."""

    paper: ClassVar[Paper | None] = Paper(
        title="[CLS] Attention is All You Need for Training-Free Visual Token Pruning: Make VLM "
        "Inference Faster",
        arxiv="2412.01818",
        code="https://github.com/Theia-4869/FasterVLM",
    )
    needs_cls: ClassVar[bool] = True
    needs_tower: ClassVar[bool] = True

    def score(self, ctx: VisualContext) -> Tensor:
        """Class-token attention, [B, N]."""
        return class_attention(ctx, ctx.tower.selected)
