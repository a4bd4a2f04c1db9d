"""K-medoids: cluster the tokens, keep the most central token of every cluster.

"Token Pooling in Vision Transformers for Image Classification" (arXiv:2110.03860) reduces tokens by
clustering them, with weighted k-medoids among its variants; "Which Tokens to Use? Investigating
Token Reduction in Vision Transformers" (arXiv:2308.04657) evaluates it as a baseline. Official code
of the latter: github.com/JoakimHaurum/TokenReduction (``models/kmedoids.py``). Two steps alternate:
every token joins its nearest medoid, and the member with the smallest weighted sum of distances to
all members becomes the cluster's medoid. The output tokens are the medoids themselves.

Where we differ:

- A token weighs as much as it stands for: its size. The baseline's weights are the attention that
  tokens receive, or equal, which is the same as sizes while nothing was merged.
- The first medoids are a greedy max-min selection (each token is as far as possible from those
  chosen before), which needs no attention and no luck. The official code takes the K most attended
  tokens or, with equal weights, a random token and then tokens far from *any* chosen one.
- A medoid minimises the distances to its own cluster, as Token Pooling defines it. The official
  code sums every member's distances to all tokens of the sequence.
- Features are the tokens where the method is attached (in a vision tower the block's hidden states
  after attention); equal sums of distances are settled for the earlier token.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, TokenMethod
from methods.contexts import FeatureContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._clusters import max_min_selection, nearest_centre


class KMedoids(TokenMethod[FeatureContext]):
    """Prunes to the medoids; looks at no attention and at no class token."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title="Token Pooling in Vision Transformers for Image Classification",
        arxiv="2110.03860",
        code="https://github.com/JoakimHaurum/TokenReduction",
    )
    home: ClassVar[Schedule] = Progressive()

    iterations: int = Field(
        default=5, ge=0, description="How often clusters and medoids are recomputed at most."
    )

    def transform(self, ctx: FeatureContext) -> TokenTransform:
        """Prune to the medoids, in the original order."""
        hidden_BND = ctx.hidden_BND.float()
        distances_BNN = torch.cdist(hidden_BND, hidden_BND)
        medoids_BK = max_min_selection(distances_BNN, ctx.num_keep)
        for _ in range(self.iterations):
            before_BK = medoids_BK
            medoids_BK = central_members(distances_BNN, before_BK, ctx.sizes_BN)
            if torch.equal(medoids_BK, before_BK):
                break
        return TokenTransform.keep(medoids_BK.sort(1).values, ctx.num_in)


def central_members(distances_BNN: Tensor, medoids_BK: Tensor, weights_BN: Tensor) -> Tensor:
    """The member of every cluster with the least weighted distance to all members, [B, K]."""
    (batch, num_in), num_clusters = weights_BN.shape, medoids_BK.shape[1]
    cluster_BN = nearest_centre(distances_BNN, medoids_BK)
    firsts_B1 = torch.arange(batch, device=medoids_BK.device)[:, None] * num_clusters
    to_clusters_FN = distances_BNN.new_zeros(batch * num_clusters, num_in).index_add_(
        0,
        (cluster_BN + firsts_B1).flatten(),
        (distances_BNN * weights_BN[..., None]).flatten(0, 1),
    )
    to_clusters_BKN = to_clusters_FN.view(batch, num_clusters, num_in)
    cost_BN = to_clusters_BKN.gather(1, cluster_BN[:, None])[:, 0]
    return _first_of_least(cost_BN, cluster_BN, num_clusters)


def _first_of_least(cost_BN: Tensor, cluster_BN: Tensor, num_clusters: int) -> Tensor:
    """The member of every cluster that costs least, of equals the first, long [B, K]."""
    least_BK = cost_BN.new_full((len(cost_BN), num_clusters), torch.inf)
    least_BK = least_BK.scatter_reduce(1, cluster_BN, cost_BN, "amin")
    nobody = cost_BN.shape[1]
    places_BN = torch.arange(nobody, device=cost_BN.device).expand_as(cost_BN)
    places_BN = places_BN.where(cost_BN == least_BK.gather(1, cluster_BN), nobody)
    first_BK = torch.full_like(least_BK, nobody, dtype=torch.long)
    return first_BK.scatter_reduce(1, cluster_BN, places_BN, "amin")
