"""Choosing centres and joining them, shared by the methods that cluster tokens.

Shapes: B sequences, N tokens, K centres.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.transform import rows_of


def cosine_distances(features_BND: Tensor) -> Tensor:
    """1 - cosine of every pair of tokens, float in [0, 2], [B, N, N]."""
    directions_BND = normalize(features_BND.float(), dim=-1)
    return 1 - directions_BND @ directions_BND.transpose(1, 2)


def max_min_selection(distances_BNN: Tensor, num_keep: int) -> Tensor:
    """Greedy solution of the max-min diversity problem, [B, num_keep] in order of selection.

    Starts with the token whose nearest neighbour is farthest and adds, one at a time, the token
    that is farthest from everything selected. Every step costs O(N): the distance to the selection
    is updated with the newest member's row. A selected token is never selected twice.
    """
    to_others_BNN = distances_BNN.clone()
    to_others_BNN.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return _farthest_first(to_others_BNN, to_others_BNN.amin(2).argmax(1), num_keep)


def farthest_first(distances_BNN: Tensor, first_B: Tensor, num_keep: int) -> Tensor:
    """``first_B`` (long), then always the token farthest from all selected, [B, num_keep]."""
    return _farthest_first(distances_BNN.clone(), first_B, num_keep)


def _farthest_first(distances_BNN: Tensor, first_B: Tensor, num_keep: int) -> Tensor:
    """The same; the diagonal is overwritten. Steps are many, so each is three small operations."""
    # With its own row a selected token gets a distance that can never be the farthest.
    distances_BNN.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    rows_RN = distances_BNN.flatten(0, 1)
    starts_B = torch.arange(len(first_B), device=first_B.device) * distances_BNN.shape[1]
    selected = [first_B]
    to_selection_BN = torch.full_like(distances_BNN[:, 0], torch.inf)
    for _ in range(num_keep - 1):
        to_newest_BN = rows_RN.index_select(0, selected[-1] + starts_B)
        to_selection_BN = torch.minimum(to_selection_BN, to_newest_BN)
        selected.append(to_selection_BN.argmax(1))
    return torch.stack(selected, 1)


def nearest_centre(distances_BNN: Tensor, centres_BK: Tensor) -> Tensor:
    """Index of the centre nearest to each token, [B, N]; a centre belongs to itself."""
    own_rows = torch.arange(centres_BK.shape[1], device=centres_BK.device).expand_as(centres_BK)
    # Of equal distances min(1) takes the first, as argmin does, in less than half of the time.
    nearest_BN = rows_of(distances_BNN, centres_BK).min(1).indices
    return nearest_BN.scatter(1, centres_BK, own_rows)


def nearest_of(features_BND: Tensor, tokens_BR: Tensor, centres_BK: Tensor) -> Tensor:
    """Index 0..K-1 of the centre that is nearest by cosine distance to each of some tokens, [B, R].

    Tokens that are no centre are not compared with each other.
    """
    features_BND = features_BND.float()
    norms_BN: Tensor = features_BND.norm(dim=-1).clamp_min(1e-12)
    # A few more products than needed, of some tokens with all: that copies no token.
    products_BRN = rows_of(features_BND, tokens_BR) @ features_BND.mT
    cosines_BRN = products_BRN / (norms_BN.gather(1, tokens_BR)[..., None] * norms_BN[:, None])
    index_BRK = centres_BK[:, None].expand(-1, tokens_BR.shape[1], -1)
    return (1 - cosines_BRN.gather(2, index_BRK)).argmin(2)
