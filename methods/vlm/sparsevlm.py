"""SparseVLM: text raters judge visual tokens; some of the pruned ones come back as clusters.

"SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference"
(arXiv:2410.04417), sections 3.2 to 3.4. Tokens of the question that are more related to the image
than the average one are raters: relation is the softmax over the question of inner products with
visual tokens, averaged over the visual tokens. Visual tokens are ranked by the raters' attention,
averaged over heads and raters. Of the pruned ones, the best 30% are recycled: density-peak
clustering finds one centre for ten of them, and a cluster becomes the average of its tokens.
Official code: github.com/Gumpest/SparseVLMs (``score.py``, ``utils.py``, version 1.0).

Where we differ:

- The official code picks raters once from the input embeddings; here from the hidden states at the
  cut, because the cuts are all inside.
- The paper lets the rank of the attention matrix say how many tokens each layer loses; the official
  code has fixed counts for a few budgets (300, 200 and 110 of 576), about equal factors, and so has
  ``home``. Budgets count clusters, which the official code adds on top, and keep at least one
  token as it is.
- Attention is that of the layer before the cut, which is where the official code takes it from.
  It moves tokens together after a cut; here they keep their positions.
- A cluster is averaged by size. Equal densities are settled for the earlier token instead of by
  noise.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, ScoringMethod, top_indices
from methods.contexts import VisualContext
from methods.schedule import Schedule, Stages
from methods.transform import TokenTransform
from methods.vision._clusters import nearest_centre
from methods.vlm._density import peak_scores, token_distances
from methods.vlm._language import attention_from_text


class SparseVLM(ScoringMethod[VisualContext]):
    """Keeps what text raters attend to and recycles the best of the rest as clusters."""

    paper: ClassVar[Paper | None] = Paper(
        title="SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model "
        "Inference",
        arxiv="2410.04417",
        code="https://github.com/Gumpest/SparseVLMs",
    )
    home: ClassVar[Schedule] = Stages(depths=(2 / 32, 6 / 32, 15 / 32))

    recycled_share: float = Field(
        default=0.3, ge=0, lt=1, description="Share of the pruned tokens that is recycled."
    )
    cluster_size: int = Field(
        default=10, ge=2, description="Recycled tokens for which there is one cluster."
    )

    def score(self, ctx: VisualContext) -> Tensor:
        """Attention of the raters in the previous layer, averaged over heads, [B, N]."""
        from_question_BQN = attention_from_text(ctx, self.id())[:, ctx.question_Q]
        raters_BQ = _raters(ctx).float()
        return (from_question_BQN * raters_BQ[..., None]).sum(1) / raters_BQ.sum(1, keepdim=True)

    def transform(self, ctx: VisualContext) -> TokenTransform:
        """The best tokens as they are and, in the order of their centres, clusters."""
        num_best, num_recycled, num_clusters = self.split(ctx.num_in, ctx.num_keep)
        scores_BN = self.score(ctx)
        best_BK = top_indices(scores_BN, num_best)
        if num_clusters == 0:
            return TokenTransform.keep(best_BK, ctx.num_in)
        order_BN = scores_BN.argsort(dim=1, descending=True, stable=True)
        recycled_BR = order_BN[:, num_best : num_best + num_recycled].sort(1).values
        return _join(ctx, best_BK, recycled_BR, _clusters(ctx, recycled_BR, num_clusters))

    def split(self, num_in: int, num_keep: int) -> tuple[int, int, int]:
        """Tokens kept as they are, tokens recycled, and clusters made of them.

        The first and the last add up to ``num_keep``.
        """
        for num_best in range(num_keep, 0, -1):
            num_recycled = int((num_in - num_best) * self.recycled_share) + 1
            num_clusters = num_recycled // self.cluster_size + 1
            if num_best + num_clusters == num_keep:
                return num_best, num_recycled, num_clusters
        return 1, max(num_recycled, num_keep - 1), num_keep - 1


def _raters(ctx: VisualContext) -> Tensor:
    """Which of the question's tokens are related to the image, bool [B, Q]; at least one is."""
    question_BQD = ctx.text_BQD[:, ctx.question_Q].float()
    products_BNQ = ctx.hidden_BND.float() @ question_BQD.transpose(1, 2)
    relation_BQ = products_BNQ.softmax(2).mean(1)
    # The mean of equal numbers may exceed them by rounding, hence not only a comparison with it.
    related_BQ: Tensor = relation_BQ > relation_BQ.mean(1, keepdim=True)
    return related_BQ | (relation_BQ == relation_BQ.amax(1, keepdim=True))


def _clusters(ctx: VisualContext, recycled_BR: Tensor, num_clusters: int) -> Tensor:
    """Cluster of every recycled token, long [B, R]."""
    index_BRD = recycled_BR[..., None].expand(-1, -1, ctx.hidden_BND.shape[2])
    distances_BRR = token_distances(ctx.hidden_BND.gather(1, index_BRD))
    everyone_BR = torch.ones_like(recycled_BR, dtype=torch.bool)
    # As in the official code, the neighbourhood is as large as there are clusters.
    scores_BR = peak_scores(distances_BRR, everyone_BR, num_clusters)
    return nearest_centre(distances_BRR, top_indices(scores_BR, num_clusters))


def _join(
    ctx: VisualContext, best_BK: Tensor, recycled_BR: Tensor, clusters_BR: Tensor
) -> TokenTransform:
    own_rows = torch.arange(best_BK.shape[1], device=ctx.device).expand_as(best_BK)
    rows_BN = torch.zeros_like(ctx.origin_BN).scatter(1, best_BK, own_rows)
    rows_BN = rows_BN.scatter(1, recycled_BR, clusters_BR + best_BK.shape[1])
    taken_BN = torch.zeros_like(ctx.sizes_BN).scatter(1, best_BK, 1.0).scatter(1, recycled_BR, 1.0)
    return TokenTransform.merge(rows_BN, ctx.sizes_BN * taken_BN, ctx.num_keep)
