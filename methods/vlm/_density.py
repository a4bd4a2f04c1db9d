"""Density peaks among some of the tokens only, for methods that cluster parts of the input.

Shapes: G sets of M tokens each, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.vision.dpc_knn import distance_to_denser, log_density


def peak_scores(distances_GMM: Tensor, members_GM: Tensor, num_neighbors: int) -> Tensor:
    """log(rho * delta) of DPC-KNN over the members (bool) of every set, -inf elsewhere, [G, M].

    Whoever is not a member is no neighbour: its distance to others counts as larger than any.
    ``num_neighbors`` includes the token itself; at most M are used.
    """
    beyond_G11 = distances_GMM.amax((1, 2), keepdim=True) + 1
    distances_GMM = distances_GMM.where(members_GM[:, None], beyond_G11)
    density_GM = log_density(distances_GMM, min(num_neighbors, members_GM.shape[1]))
    density_GM = density_GM.where(members_GM, -torch.inf)
    delta_GM = distance_to_denser(distances_GMM, density_GM)
    scores_GM = density_GM + delta_GM.clamp_min(torch.finfo(delta_GM.dtype).tiny).log()
    return scores_GM.where(members_GM, -torch.inf)


def token_distances(features_GMD: Tensor) -> Tensor:
    """Euclidean distances over sqrt(D), float [G, M, M]."""
    features_GMD = features_GMD.float()
    distances_GMM: Tensor = torch.cdist(features_GMD, features_GMD).div(
        features_GMD.shape[-1] ** 0.5
    )
    return distances_GMM
