"""Token Transforming: every kept token becomes a mix of all tokens, by similarity.

"Token Transforming: A Unified and Training-Free Token Compression Framework for Vision Transformer
Acceleration" (arXiv:2506.05709). The authors' repository holds no code yet. The paper writes every
reduction as Y = W X: pruning has one-hot rows, merging gives every token to one row, and its own
proposal is many to many: informative tokens are chosen by attention, and every token contributes to
several of them, by similarity.

The last sentence is all that we know of the proposal. Our reading, in detail:

- Informative are the tokens with the most class-token attention, averaged over heads.
- Similarity is the cosine of the block's keys, averaged over heads (the features of ToMe,
  arXiv:2210.09461). Every token is divided among the kept ones by a softmax of its similarity to
  them over ``temperature``, so that nothing of it is lost or counted twice; a row is then divided
  by its sum. Tokens weigh what they stand for: their size.
- The default temperature is ours.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch.nn.functional import normalize

from methods.base import Paper, top_indices
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform, rows_of
from methods.vision._class_attention import ClassAttentionMethod


class TokenTransforming(ClassAttentionMethod):
    """A dense W: informative tokens, into each of which every token goes in part."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="Token Transforming: A Unified and Training-Free Token Compression Framework for "
        "Vision Transformer Acceleration",
        arxiv="2506.05709",
        code="https://github.com/AuroraZengfh/TokenTransforming",
        catalogue="token-transforming",
    )
    home: ClassVar[Schedule] = Progressive()
    proportional_attention: ClassVar[bool] = True

    temperature: float = Field(
        default=0.05,
        gt=0,
        description="Cosine over which a token's contribution falls by a factor e; towards 0 every "
        "token goes to its most similar kept one alone.",
    )

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Rows follow the informative tokens' original order."""
        kept_BK = top_indices(self.score(ctx), ctx.num_keep)
        directions_BND = normalize(ctx.keys_BHND.mean(1).float(), dim=-1)
        distances_BKN = 1 - rows_of(directions_BND, kept_BK) @ directions_BND.mT
        shares_BKN = (-distances_BKN / self.temperature).softmax(1)
        return TokenTransform.mix(shares_BKN * ctx.sizes_BN[:, None])
