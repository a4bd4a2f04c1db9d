"""Zero-TPrune: drop near-duplicates first, then what the attention graph votes unimportant.

"Zero-TPrune: Zero-Shot Token Pruning through Leveraging of the Attention Graph in Pre-Trained
Transformers" (arXiv:2305.17328), project page jha-lab.github.io/zerotprune; no official code could
be found. Attention is the adjacency matrix of a graph over tokens. The stages, in the paper's order
I', S, I:

- I': one round of votes (s <- A^T s) ranks the tokens; nothing is pruned.
- S: the less important half of the tokens (partition "sequential-U") looks for its most similar
  token in the other half, by the cosine of keys; the tokens with the most similar partner go.
- I: Weighted Page Rank on what is left (algorithm 1): s <- A^T s, many times in the first quarter
  of the layers, a few times in the middle, once in the last quarter; the lowest go. At the start
  the class token has sqrt(N) times the score of a patch. Heads are combined by the root of the mean
  square, leaving out heads whose scores vary too little or too much (eq. 3 and the variance-based
  head filter, [0.01, 0.7]).

What is our reading, the paper being silent or unavailable to us:

- The variance is that of the patches' scores scaled to mean 1: with scores that sum to 1 no head
  of a hundred tokens could reach 0.01. If no head is within the range, all are used.
- The paper sets by hand how many tokens either stage removes in each layer; ``similar_share`` of
  the tokens to go are removed by S, at most the half that it may choose from.
- After S the rows of the attention that is left are scaled to sum to 1 again.
- "First three, middle and last three" of twelve layers became quarters of the depth.
- The cut is between attention and MLP with that block's own attention; the paper's pruning layers
  stand between blocks.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper, ScoringMethod, top_indices
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform, rows_of

LEAST = torch.finfo(torch.float32).tiny


class ZeroTPrune(ScoringMethod[VisionContext]):
    """Weighted Page Rank on the attention graph, after a similarity stage.

    ``score`` alone is the Page Rank of all tokens, without the similarity stage.
    """

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="Zero-TPrune: Zero-Shot Token Pruning through Leveraging of the Attention Graph in "
        "Pre-Trained Transformers",
        arxiv="2305.17328",
        catalogue="zero-tprune",
    )
    home: ClassVar[Schedule] = Progressive()
    needs_attention: ClassVar[bool] = True

    similar_share: float = Field(
        default=0.25, ge=0, le=1, description="Share of the removed tokens that are near-copies."
    )
    votes_first: int = Field(
        default=30, ge=1, description="Rounds of votes in the first quarter of the layers."
    )
    votes_middle: int = Field(default=5, ge=1, description="Rounds of votes in the middle half.")
    least_variance: float = Field(
        default=0.01, ge=0, description="Heads whose scores vary less are left out."
    )
    most_variance: float = Field(
        default=0.7, gt=0, description="Heads whose scores vary more are left out."
    )

    def score(self, ctx: VisionContext) -> Tensor:
        """Weighted Page Rank, [B, N], around 1."""
        everything_BN = torch.ones_like(ctx.sizes_BN, dtype=torch.bool)
        return self.importance(ctx, everything_BN, self.votes(ctx.layer, ctx.num_layers))

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Stages I', S and I."""
        everything_BN = torch.ones_like(ctx.sizes_BN, dtype=torch.bool)
        num_remove = ctx.num_in - ctx.num_keep
        num_similar = min(int(self.similar_share * num_remove + 0.5), ctx.num_in // 2)
        copies_BR = near_copies(ctx, self.importance(ctx, everything_BN, votes=1), num_similar)
        present_BN = everything_BN.scatter(1, copies_BR, False)
        rank_BN = self.importance(ctx, present_BN, self.votes(ctx.layer, ctx.num_layers))
        kept_BK = top_indices(rank_BN.masked_fill(~present_BN, -torch.inf), ctx.num_keep)
        return TokenTransform.keep(kept_BK, ctx.num_in)

    def votes(self, layer: int, num_layers: int) -> int:
        """Rounds of votes in this layer."""
        if 4 * layer < num_layers:
            return self.votes_first
        return self.votes_middle if 4 * layer < 3 * num_layers else 1

    def importance(self, ctx: VisionContext, present_BN: Tensor, votes: int) -> Tensor:
        """Score of every patch among those present, [B, N]; 0 for the others."""
        scores_BHN = page_rank(ctx, present_BN, votes)
        present_B1N = present_BN[:, None].float()
        num_B1 = present_B1N.sum(2)
        mean_BH = scores_BHN.sum(2) / num_B1
        scores_BHN = scores_BHN / mean_BH[..., None].clamp_min(LEAST)
        variance_BH = ((scores_BHN - 1).square() * present_B1N).sum(2) / num_B1
        return combined(scores_BHN, self.trusted(variance_BH))

    def trusted(self, variance_BH: Tensor) -> Tensor:
        """Which heads count, bool [B, H]; all of them where none is within the range."""
        within_BH = (variance_BH >= self.least_variance) & (variance_BH <= self.most_variance)
        return within_BH | ~within_BH.any(1, keepdim=True)


def page_rank(ctx: VisionContext, present_BN: Tensor, votes: int) -> Tensor:
    """What every patch has after ``votes`` rounds, [B, H, N]; 0 for patches that are not present.

    All patches present start with 1, the class token with sqrt(N).
    """
    assert ctx.attention_BHMM is not None
    num_protected = ctx.attention_BHMM.shape[-1] - ctx.num_in
    is_class = present_BN.new_ones(ctx.batch, num_protected)
    present_B1M = torch.cat([is_class, present_BN], dim=1)[:, None].float()
    attention_BHMM = ctx.attention_BHMM.float()
    # Columns are masked and rows scaled on the way, so that the graph itself is never written.
    present_B11M = present_B1M[:, None]
    left_BH1M = (attention_BHMM @ present_B11M.mT).clamp_min(LEAST).mT
    scores_BH1M = present_B11M.repeat(1, attention_BHMM.shape[1], 1, 1)
    scores_BH1M[..., :num_protected] *= present_BN.sum(1).float().sqrt()[:, None, None, None]
    for _ in range(votes):
        scores_BH1M = (scores_BH1M / left_BH1M) @ attention_BHMM * present_B11M
    return scores_BH1M[:, :, 0, num_protected:]


def combined(scores_BHN: Tensor, trusted_BH: Tensor) -> Tensor:
    """Root of the mean square over the trusted heads, [B, N]."""
    weight_BH1 = trusted_BH.float()[..., None]
    return ((scores_BHN.square() * weight_BH1).sum(1) / weight_BH1.sum(1)).sqrt()


def near_copies(ctx: VisionContext, rank_BN: Tensor, num: int) -> Tensor:
    """The ``num`` tokens of the less important half that resemble the other half most, [B, num]."""
    order_BN = rank_BN.argsort(dim=1, stable=True)
    half = ctx.num_in // 2
    keys_BND = normalize(ctx.keys_BHND.transpose(1, 2).flatten(2).float(), dim=-1)
    keys_BND = rows_of(keys_BND, order_BN)
    nearest_BA = (keys_BND[:, :half] @ keys_BND[:, half:].mT).amax(2)
    most_BR = nearest_BA.argsort(dim=1, descending=True, stable=True)[:, :num]
    return order_BN.gather(1, most_BR)
