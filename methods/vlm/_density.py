"""Density peaks among some of the tokens only, for methods that cluster parts of the input.

Shapes: G sets of M tokens each, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.vision.dpc_knn import distance_to_denser


def peak_scores(distances_GMM: Tensor, members_GM: Tensor, num_neighbors: int) -> Tensor:
    """log(rho * delta) of DPC-KNN over the members (bool) of every set, -inf elsewhere, [G, M].

    A member's density is that of its ``num_neighbors`` nearest members, itself included, or of all
    if there are fewer.
    """
    density_GM = _log_density(distances_GMM, members_GM, num_neighbors)
    among_GMM = members_GM[:, :, None] & members_GM[:, None]
    delta_GM = distance_to_denser(distances_GMM.where(among_GMM, 0.0), density_GM)
    scores_GM = density_GM + delta_GM.clamp_min(torch.finfo(delta_GM.dtype).tiny).log()
    return scores_GM.where(members_GM, -torch.inf)


def _log_density(distances_GMM: Tensor, members_GM: Tensor, num_neighbors: int) -> Tensor:
    """Minus the mean squared distance to the nearest members; who is none has no density."""
    count = min(num_neighbors, members_GM.shape[1])
    to_members_GMM = distances_GMM.where(members_GM[:, None], torch.inf)
    nearest_GMk = to_members_GMM.topk(count, dim=2, largest=False).values
    exists_GMk = nearest_GMk.isfinite()
    total_GM = nearest_GMk.where(exists_GMk, 0.0).square().sum(2)
    return (-total_GM / exists_GMk.sum(2).clamp_min(1)).where(members_GM, -torch.inf)


def token_distances(features_GMD: Tensor) -> Tensor:
    """Euclidean distances over sqrt(D), float [G, M, M]."""
    features_GMD = features_GMD.float()
    distances_GMM: Tensor = torch.cdist(features_GMD, features_GMD).div(
        features_GMD.shape[-1] ** 0.5
    )
    return distances_GMM
