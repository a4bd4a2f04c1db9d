"""PyramidDrop: stage by stage, what the last instruction token attends to.

"PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy
Reduction" (arXiv:2410.17247), section 3.2. The language model is divided into four stages of equal
depth; at the end of each of the first three, visual tokens are ranked by the attention of the last
instruction token, averaged over heads, and a fraction lambda (1/2) of them is kept. Official code:
github.com/Cooperx521/PyramidDrop (``modeling_llama_pdrop.py``, ``pdrop_rank_drop``).

Where we differ: attention is that of the layer just run; the official code computes the next
layer's one step ahead. lambda follows from the keep ratio.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.schedule import Schedule, Stages
from methods.vlm._language import attention_from_text


class PyramidDrop(ScoringMethod[VisualContext]):
    """Prunes in stages by the attention of the prompt's last token."""

    paper: ClassVar[Paper | None] = Paper(
        title="PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual "
        "Redundancy Reduction",
        arxiv="2410.17247",
        code="https://github.com/Cooperx521/PyramidDrop",
    )
    home: ClassVar[Schedule] = Stages(depths=(0.25, 0.5, 0.75))

    def score(self, ctx: VisualContext) -> Tensor:
        """Attention from the last token in the previous layer, averaged over heads, [B, N]."""
        return attention_from_text(ctx, self.id())[:, -1]
