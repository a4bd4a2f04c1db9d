"""CATP: pruning for prompts of several image-text pairs, in two stages.

"CATP: Contextually Adaptive Token Pruning for Efficient and Enhanced Multimodal In-Context
Learning" (arXiv:2508.07871). All images but the last are the context, the last one and the text
behind it are the query.

- Stage 1, behind the projector, keeps of every image the subset that maximises diversity plus
  lambda1 times alignment (eq. 5), greedily. Diversity is facility location: the similarity of every
  token to its closest kept one, summed (eq. 7). Alignment is the similarity of the kept tokens to
  the mean embedding of the text paired with their image, summed (eq. 6). Similarity is cosine,
  rescaled to [0, 1].
- Stage 2, in two shallow layers, prunes the context as a whole by eq. 9: how much the attention of
  the prompt's last token to a token has grown since the previous layer (eq. 8), plus lambda2 times
  its cosine to the mean of the query's tokens. Then it prunes the query image by cosine to the mean
  of what is left of the context (eq. 10).

Of what is removed each stage removes half. No official code.

Where we differ:

- The paper prunes the context in layer K and the query image in layer K + 1. Here both happen at
  every cut inside, one after the other, each in proportion to its tokens. Growth is counted from
  the cut before; the first one counts all attention as growth. ``home`` therefore makes a small cut
  before layer K and the main one before layer K + 1, where attention of layers K - 1 and K is at
  hand; K is 6 of 32 layers.
- The query image competes with nothing but itself, as in the paper, unless it is the only image:
  then it is ranked by eq. 9.

Our reading: an image's paired text is all text between it and the next image; where the prompt does
not tell, context images are paired with all text before the query. An image without text shares the
next image's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from methods.base import Paper, TokenMethod
from methods.contexts import VisualContext
from methods.schedule import Schedule, Stages
from methods.transform import TokenTransform
from methods.vlm._budgets import even_budgets, exact_budgets, image_of
from methods.vlm._facility import greedy_turns
from methods.vlm._language import attention_from_text
from methods.vlm._places import at_places, from_places, occupied
from methods.vlm._selection import best_of_each, indices_of

SEEN = "catp: attention of the last token at the cut before"


class CATP(TokenMethod[VisualContext]):
    """Diverse and aligned tokens at the doorstep; inside, context first, then the query image."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="CATP: Contextually Adaptive Token Pruning for Efficient and Enhanced Multimodal "
        "In-Context Learning",
        arxiv="2508.07871",
        catalogue="catp",
    )
    home: ClassVar[Schedule] = Stages(depths=(0, 6 / 32, 7 / 32), shares=(4, 1, 7))

    alignment: float = Field(default=0.7, ge=0, description="lambda1: alignment over diversity.")
    relevance: float = Field(
        default=0.6, ge=0, description="lambda2: relevance to the query over growth of attention."
    )

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """Stage 1 at layer 0, stage 2 behind."""
        kept_BN = self._diverse(ctx) if ctx.visual_T is None else self._contextual(ctx)
        return TokenTransform.keep(indices_of(kept_BN, ctx.num_keep), ctx.num_in)

    def _diverse(self, ctx: VisualContext) -> Tensor:
        budgets_BI, present_BIP = even_budgets(ctx), occupied(ctx)
        hidden_BIPD = at_places(ctx.hidden_BND.float(), ctx)
        directions_GPD = normalize(hidden_BIPD.flatten(0, 1), dim=-1)
        similarity_GPP = _rescaled(directions_GPD @ directions_GPD.transpose(1, 2))
        to_text_BIP = cosine_similarity(hidden_BIPD, paired_text(ctx)[:, :, None], dim=-1)
        merit_GP = self.alignment * _rescaled(to_text_BIP).flatten(0, 1)
        turns_GP = greedy_turns(
            similarity_GPP, merit_GP, present_BIP.flatten(0, 1), int(budgets_BI.max())
        )
        kept_BIP = turns_GP.view_as(present_BIP) < budgets_BI[..., None]
        return from_places(kept_BIP, ctx)

    def _contextual(self, ctx: VisualContext) -> Tensor:
        context_score_BN = self.context_score(ctx)
        images_BN, last = image_of(ctx), ctx.layout.num_images - 1
        is_query_BN = (images_BN == last) & (last > 0)
        groups_BN = is_query_BN.long()
        counts_B2 = torch.stack([(~is_query_BN).sum(1), is_query_BN.sum(1)], 1)
        budgets_B2 = exact_budgets(counts_B2, counts_B2, ctx.num_keep)

        kept_BN = best_of_each(context_score_BN, groups_BN, budgets_B2) & ~is_query_BN
        to_context_BN = _cosine_to_mean(ctx.hidden_BND, ctx.hidden_BND, kept_BN)
        score_BN = context_score_BN.where(~is_query_BN, to_context_BN)
        return best_of_each(score_BN, groups_BN, budgets_B2)

    def context_score(self, ctx: VisualContext) -> Tensor:
        """Eq. 9 for every token, [B, N]; notes the attention for the next cut."""
        now_BN = attention_from_text(ctx, self.id())[:, -1]
        before_BIP = ctx.memory.get(SEEN)
        before_BN = 0 if before_BIP is None else from_places(before_BIP, ctx)
        ctx.memory[SEEN] = at_places(now_BN, ctx)
        growth_BN = (now_BN - before_BN).clamp_min(0)
        return growth_BN + self.relevance * _to_query(ctx)


def paired_text(ctx: VisualContext) -> Tensor:
    """Mean embedding of the text that belongs to each image, float [B, I, D]."""
    images_before_Q = ctx.images_before_Q
    if images_before_Q is None:
        # All text before the query counts as standing behind every image but the last.
        images_before_Q = ctx.question_Q + max(ctx.layout.num_images - 1, 0)
    images_before = images_before_Q.tolist()
    means_BD = []
    for image in range(1, ctx.layout.num_images + 1):
        nearest = min((before for before in images_before if before >= image), default=0)
        means_BD.append(ctx.text_BQD[:, images_before_Q == nearest].float().mean(1))
    return torch.stack(means_BD, 1)


def _rescaled(cosine: Tensor) -> Tensor:
    return (cosine + 1) / 2


def _to_query(ctx: VisualContext) -> Tensor:
    """Cosine of every token to the mean of all tokens of the query, [B, N]."""
    is_query_BN = image_of(ctx) == ctx.layout.num_images - 1
    question_Q = ctx.question_Q.expand(ctx.batch, -1)
    hidden_BSD = torch.cat([ctx.hidden_BND, ctx.text_BQD], 1)
    return _cosine_to_mean(ctx.hidden_BND, hidden_BSD, torch.cat([is_query_BN, question_Q], 1))


def _cosine_to_mean(hidden_BND: Tensor, others_BSD: Tensor, chosen_BS: Tensor) -> Tensor:
    # A sum has the direction of the mean and needs no count.
    sum_BD = (others_BSD.float() * chosen_BS[..., None]).sum(1)
    return cosine_similarity(hidden_BND.float(), sum_BD[:, None], dim=-1)
