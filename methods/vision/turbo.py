"""Turbo: merge the tokens of least information degree, redundant and without semantic value.

"Turbo: Informativity-Driven Acceleration Plug-In for Vision-Language Large Models"
(arXiv:2407.11717). No code was published. A token's mutual redundancy R is its similarity to other
tokens, its semantic value A its contribution to the class token, and tokens are sorted by
R - alpha * A (the paper also tries R / A): redundant tokens of little value go first, the others
are kept.

What the paper says above is taken from its abstract and from summaries. Our reading, in detail:

- R is the largest cosine of keys (averaged over heads) to a token that could take this one in, A
  the class token's attention averaged over heads, in the block's own softmax.
- As in ToMe (arXiv:2210.09461), on which the merging builds, tokens are split alternately into two
  sets; the R tokens of the first set with the least information degree are merged into their most
  similar token of the second, weighted by size, and later blocks add log(size) to attention logits.
- In a cut of more than one round a merged token has the summed attention of its parts.
- The default of alpha is ours: attention is about 1 / N, so that 10 weighs it like a tenth of a
  cosine at a hundred tokens.
- The restoring of merged tokens that the paper uses for image generation has no place here.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisionContext
from methods.vision._class_attention import class_attention
from methods.vision._clusters import cosine_distances
from methods.vision._rounds import Round, RoundMerging, accept_proposals, bipartite_proposals


class Turbo(RoundMerging, ScoringMethod[VisionContext]):
    """Merging ordered by redundancy and class-token attention together."""

    paper: ClassVar[Paper | None] = Paper(
        title="Turbo: Informativity-Driven Acceleration Plug-In for Vision-Language Large Models",
        arxiv="2407.11717",
        catalogue="turbo",
    )
    needs_cls: ClassVar[bool] = True

    alpha: float = Field(
        default=10.0,
        ge=0,
        description="Weight of semantic value against mutual redundancy; 0 is ToMe's matching.",
    )

    def score(self, ctx: VisionContext) -> Tensor:
        """Information degree alpha * A - R over all pairs of tokens, [B, N]."""
        cosines_BNN = 1 - cosine_distances(ctx.keys_BHND.mean(1))
        nobody_BN = cosines_BNN.new_full(cosines_BNN.shape[:2], -torch.inf)
        redundancy_BN = cosines_BNN.diagonal_scatter(nobody_BN, dim1=1, dim2=2).amax(2)
        return self.alpha * class_attention(ctx) - redundancy_BN

    def match(self, ctx: VisionContext, now: Round) -> Tensor:
        """Bipartite matching in which the least information degree is merged first."""
        redundancy_BS, partner_BS = bipartite_proposals(now.features_BMD)
        value_BS = now.total(class_attention(ctx))[:, ::2]
        merit_BS = redundancy_BS - self.alpha * value_BS
        return accept_proposals(merit_BS, partner_BS, now.features_BMD.shape[1], now.num_remove)
