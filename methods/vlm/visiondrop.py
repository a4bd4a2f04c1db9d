"""VisionDrop: VisionZip's step at several stages, inside the language model by visual attention.

"Rethinking Visual Token Reduction in LVLMs under Cross-modal Misalignment" (arXiv:2506.22283).
Text misleads a pruner inside a language model, so visual tokens judge each other. Each stage keeps
dominant tokens and merges the others into contextual ones by key similarity. At the doorstep the
dominant are those with the most attention from the class token, image by image; inside, those with
the most attention from all visual tokens (mean over heads and visual queries, causal mask in
place). Official code: github.com/Ruixxxx/VisionDrop (``modeling_llama_visiondrop.py``,
``visiondrop_rank_drop``).

Where we differ:

- Attention and keys are those of the layer just run; the official code computes the next layer's
  one step ahead.
- The official example keeps 42 + 6 tokens at the doorstep and 30 + 5, 22 + 4 and 16 + 3 after a
  quarter, a half and three quarters of the layers: about equal factors. ``home`` makes equal
  factors at every boundary, and one share of contextual tokens stands for the four.
- A contextual token keeps the place of its target.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vlm._budgets import even_budgets, image_of
from methods.vlm._contextual import dominant_and_contextual
from methods.vlm._language import attention_from_visual
from methods.vlm._tower import class_attention, mean_keys


class VisionDrop(ScoringMethod[VisualContext]):
    """Dominant and contextual tokens, stage by stage, without a look at the text."""

    paper: ClassVar[Paper | None] = Paper(
        title="Rethinking Visual Token Reduction in LVLMs under Cross-modal Misalignment",
        arxiv="2506.22283",
        code="https://github.com/Ruixxxx/VisionDrop",
        catalogue="visiondrop",
    )
    home: ClassVar[Schedule] = Progressive()
    needs_cls: ClassVar[bool] = True
    needs_tower: ClassVar[bool] = True

    contextual_share: float = Field(
        default=0.15, ge=0, lt=1, description="Share of every stage's budget for contextual tokens."
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Attention from the class token or, inside, from all visual tokens, [B, N]."""
        if ctx.layer == 0:
            return class_attention(ctx, ctx.tower.selected)
        return attention_from_visual(ctx, "visiondrop").mean(1)

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """One stage: every image on its own at the doorstep, all tokens together inside."""
        keys_BND, groups_BN, budgets_BI = _doorstep(ctx) if ctx.layer == 0 else _inside(ctx)
        return dominant_and_contextual(
            self.score(ctx), keys_BND, groups_BN, budgets_BI, self.contextual_share
        )


def _doorstep(ctx: VisualContext) -> tuple[Tensor, Tensor, Tensor]:
    return mean_keys(ctx), image_of(ctx), even_budgets(ctx)


def _inside(ctx: VisualContext) -> tuple[Tensor, Tensor, Tensor]:
    assert ctx.keys_BHND is not None
    groups_BN = torch.zeros_like(ctx.origin_BN)
    budget_B1 = torch.full((ctx.batch, 1), ctx.num_keep, device=ctx.device)
    return ctx.keys_BHND.float().mean(1), groups_BN, budget_B1
