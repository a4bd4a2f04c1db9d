"""FastV: after two language layers, only what the last token attends to.

"An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large
Vision-Language Models" (arXiv:2403.06764), section 4.1. Before language layer K the visual tokens
are ranked by attention in layer K - 1, averaged over heads, and the lowest are dropped. Official
code: github.com/pkunlp-icler/FastV (``modeling_llama.py``, ``fastv_forward``).

The paper speaks of the attention that a token receives from all others; the official code, which
is followed here, takes the attention of the prompt's last token. K is the layer of the schedule.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.schedule import OneLayer, Schedule
from methods.vlm._language import attention_from_text


class FastV(ScoringMethod[VisualContext]):
    """Prunes once, by the attention of the prompt's last token."""

    paper: ClassVar[Paper | None] = Paper(
        title="An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration "
        "for Large Vision-Language Models",
        arxiv="2403.06764",
        code="https://github.com/pkunlp-icler/FastV",
    )
    home: ClassVar[Schedule] = OneLayer(layer=2)

    def score(self, ctx: VisualContext) -> Tensor:
        """Attention from the last token in the previous layer, averaged over heads, [B, N]."""
        return attention_from_text(ctx, self.id())[:, -1]
