"""DPC-KNN: cluster tokens around density peaks, merge each cluster.

The clustering of "Not All Tokens Are Equal: Human-centric Visual Analysis via Token Clustering
Transformer" (TCFormer, arXiv:2204.08680) as a training-free reduction, the way token-reduction
studies use it (for example CLCA, github.com/arkel23/CLCA, ``models/dpcknn.py``). Official code:
github.com/zengwang430521/TCFormer (``tcformer_module/tcformer_utils.py``). A centre is a token in
a dense neighbourhood (density rho) that is far from any denser token (distance delta); the tokens
with the highest rho * delta are centres, all others join the nearest centre.

Where we differ:

- Clusters are averaged with weights by token size; TCFormer learns the weights, CLCA's variant
  with equal weights is the same for tokens of size 1. Later blocks get no attention bias.
- Features are the tokens where it is attached (in a vision tower the block's hidden states after
  attention), without TCFormer's convolution.
- rho * delta is ordered by its logarithm, which is the same order but does not underflow when
  hidden states are large. Equal densities are settled for the earlier token; the official code
  adds noise of 1e-6.

As in the official code, distances are divided by sqrt(D), a token is one of its own K neighbours,
and the densest token's delta is the largest distance in the sequence.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Paper, TokenMethod, top_indices
from methods.contexts import FeatureContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._clusters import nearest_centre


class DPCKNN(TokenMethod[FeatureContext]):
    """Density-peak clustering with k nearest neighbours, clusters merged into one token each."""

    paper: ClassVar[Paper | None] = Paper(
        title="Not All Tokens Are Equal: Human-centric Visual Analysis via Token Clustering "
        "Transformer",
        arxiv="2204.08680",
        code="https://github.com/zengwang430521/TCFormer",
    )
    home: ClassVar[Schedule] = Progressive()

    num_neighbors: int = Field(
        default=5,
        ge=1,
        description="Neighbours that a token's density is taken from, itself included; at most all "
        "tokens are used.",
    )

    def transform(self, ctx: FeatureContext) -> TokenTransform:
        """Merge every token into its cluster; rows follow the centres' original order."""
        hidden_BND = ctx.hidden_BND.float()
        distances_BNN = torch.cdist(hidden_BND, hidden_BND) / hidden_BND.shape[-1] ** 0.5
        log_density_BN = log_density(distances_BNN, min(self.num_neighbors, ctx.num_in))
        delta_BN = distance_to_denser(distances_BNN, log_density_BN)
        centres_BK = top_indices(log_density_BN + delta_BN.log(), ctx.num_keep)
        rows_BN = nearest_centre(distances_BNN, centres_BK)
        return TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_keep)


def log_density(distances_BNN: Tensor, num_neighbors: int) -> Tensor:
    """log(rho): minus the mean squared distance to the nearest tokens, [B, N]."""
    nearest_BNk = distances_BNN.topk(num_neighbors, dim=-1, largest=False).values
    return -nearest_BNk.square().mean(-1)


def distance_to_denser(distances_BNN: Tensor, log_density_BN: Tensor) -> Tensor:
    """delta: distance to the nearest denser token, [B, N].

    The densest token gets the largest distance of its sequence.
    """
    order_BN = log_density_BN.argsort(dim=1, descending=True, stable=True)
    # A comparison of floats is much faster than one of longs, and counts are exact in both.
    rank_BN = order_BN.argsort(1).float()
    denser_BNN = rank_BN[:, None, :] < rank_BN[:, :, None]
    nearest_BN = distances_BNN.where(denser_BNN, torch.inf).amin(2)
    return nearest_BN.minimum(distances_BNN.amax((1, 2))[:, None])
