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

from methods.base import Paper, top_indices
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._class_attention import ClassAttentionMethod
from methods.vision._clusters import cosine_distances


class TokenTransforming(ClassAttentionMethod):
    """A dense W: informative tokens, into each of which every token goes in part."""

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
        distances_BNN = cosine_distances(ctx.keys_BHND.mean(1))
        distances_BKN = distances_BNN.gather(1, kept_BK[..., None].expand(-1, -1, ctx.num_in))
        shares_BKN = (-distances_BKN / self.temperature).softmax(1)
        return TokenTransform.mix(shares_BKN * ctx.sizes_BN[:, None])
