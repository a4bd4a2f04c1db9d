"""Mini-Monkey's SCM: crop tokens are kept by how much the other views and the text attend to them.

"Mini-Monkey: Alleviating the Semantic Sawtooth Effect for Lightweight MLLMs via Complementary Image
Pyramid" (arXiv:2408.02034; first version: "Multi-Scale Adaptive Cropping for Multimodal Large
Language Models"), the Scale Compression Mechanism. Two layers of the language model are
run; the second layer's attention from all tokens behind the detailed crops to those crops, averaged
over heads and queries, ranks the crops' tokens, and half of them are kept. The thumbnail is never
compressed. Official code: github.com/Yuliang-Liu/Monkey
(``project/mini_monkey/internvl/model/internvl_chat/modeling_minimonkey_chat.py``).

Where we differ:

- The official code puts the tokens that were kept through the language model again from the start;
  here the cut is made where the attention was read, before layer 2.
- There, the detailed crops come first, and the other views behind them observe. Here the thumbnail
  comes first, and causal attention lets nothing but the text see the crops; the text observes.
- A budget too small for the thumbnail and one crop token keeps the thumbnail's tokens with the most
  attention from the text. Without a thumbnail all tokens compete.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.schedule import OneLayer, Schedule
from methods.vlm._budgets import image_of
from methods.vlm._language import attention_from_text
from methods.vlm._selection import tiered


class MiniMonkeySCM(ScoringMethod[VisualContext]):
    """Prunes crops by the text's attention in an early language layer."""

    paper: ClassVar[Paper | None] = Paper(
        title="Mini-Monkey: Multi-Scale Adaptive Cropping for Multimodal Large Language Models",
        arxiv="2408.02034",
        code="https://github.com/Yuliang-Liu/Monkey",
        catalogue="mini-monkey-scm",
    )
    home: ClassVar[Schedule] = OneLayer(layer=2)

    def score(self, ctx: VisualContext) -> Tensor:
        """The thumbnail above all crops, by attention from the text, [B, N].

        Raises InfeasibleError at the doorstep, where nothing has been attended to yet.
        """
        attention_BN = attention_from_text(ctx, "mini-monkey-scm").sum(1)
        thumbnail_BN = (image_of(ctx) == 0) & (ctx.layout.kind == "crops")
        return tiered(thumbnail_BN.long(), attention_BN)
