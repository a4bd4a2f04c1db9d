"""VisPruner: important tokens by class-token attention, diverse ones by removing duplicates.

"Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs"
(arXiv:2412.01818, whose first version is FasterVLM), sections 3.2 and 3.3. Half of an
image's budget goes to the tokens with the most class-token attention (layer whose output is
projected, mean over heads). The others, by falling attention, are split alternately into A and B;
those of A that most resemble anything in B (cosine of the tower's features before projection) are
removed, a few in every round, until the other half of the budget is left. Official code:
github.com/Theia-4869/VisPruner (``llava/model/llava_arch.py``, ``encode_images``).

Where we differ: a round never removes more than half of the tokens, which in the official code
happens only to images of fewer tokens than any it was made for.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.contexts import VisualContext
from methods.transform import TokenTransform
from methods.vlm._budgets import image_of
from methods.vlm._duplicates import Rest
from methods.vlm._selection import PerImageMethod, indices_of, ranks_within
from methods.vlm._tower import class_attention


class VisPruner(PerImageMethod):
    """Prunes to important and diverse tokens of every image."""

    paper: ClassVar[Paper | None] = Paper(
        title="Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning "
        "in VLMs",
        arxiv="2412.01818",
        code="https://github.com/Theia-4869/VisPruner",
    )
    needs_cls: ClassVar[bool] = True
    needs_tower: ClassVar[bool] = True

    important_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the budget for important tokens (rounded down); the rest is diverse.",
    )
    round_size: int = Field(
        default=8, ge=1, description="Duplicates that one round removes from an image."
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Class-token attention, [B, N]."""
        return class_attention(ctx, ctx.tower.selected)

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Important tokens, and what duplicate removal leaves of the others."""
        budgets_BI, images_BN = self.budgets(ctx), image_of(ctx)
        important_BI = (budgets_BI * self.important_share).floor().long()
        ranks_BN = ranks_within(self.score(ctx), images_BN, ctx.layout.num_images)
        places_BN = ranks_BN - important_BI.gather(1, images_BN)

        rest = Rest(ctx, places_BN)
        diverse_BN = rest.distinct(budgets_BI - important_BI, self.round_size)
        return TokenTransform.keep(
            indices_of((places_BN < 0) | diverse_BN, ctx.num_keep), ctx.num_in
        )
