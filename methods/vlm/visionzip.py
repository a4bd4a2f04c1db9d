"""VisionZip: dominant tokens by class-token attention, the rest merged into contextual tokens.

"VisionZip: Longer is Better but Not Necessary in Vision Language Models" (arXiv:2412.04467),
section 3.2, algorithm 1. Attention from the class token in the layer whose output is projected,
summed over heads, names the dominant tokens; where a tower has no class token, the attention that
each token receives from all others (appendix). Of the others, taken in order, every n-th becomes a
contextual token, into which those with the most similar keys (mean over heads of the same layer)
are merged: it becomes itself plus the mean of what was merged into it, about twice as long as other
tokens. Official code: github.com/dvlab-research/VisionZip (``visionzip/clip_encoder.py``).

Where we differ:

- Tokens are merged after the projector, not before it.
- The official settings 54 + 10, 108 + 20 and 162 + 30 give the contextual share; a budget below 4
  has no contextual token. The class token, which the official code counts among the dominant ones
  and hands to the language model, is none of the visual tokens here.
- A contextual token keeps the place of its target; the official code appends them all.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.vlm._budgets import image_of
from methods.vlm._contextual import dominant_and_contextual
from methods.vlm._selection import PerImageMethod
from methods.vlm._tower import mean_keys, salience


class VisionZip(PerImageMethod):
    """Dominant tokens unmixed, contextual tokens merged by key similarity, image by image."""

    paper: ClassVar[Paper | None] = Paper(
        title="VisionZip: Longer is Better but Not Necessary in Vision Language Models",
        arxiv="2412.04467",
        code="https://github.com/dvlab-research/VisionZip",
    )
    needs_tower: ClassVar[bool] = True

    contextual_share: float = Field(
        default=10 / 64, ge=0, lt=1, description="Share of the budget for contextual tokens."
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Attention from the class token, or received where there is none, [B, N]."""
        return salience(ctx, ctx.tower.selected)

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Dominant and contextual tokens of every image."""
        return dominant_and_contextual(
            self.score(ctx),
            mean_keys(ctx),
            image_of(ctx),
            self.budgets(ctx),
            self.contextual_share,
        )
