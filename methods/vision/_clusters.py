"""Choosing centres and joining them, shared by the methods that cluster tokens.

Shapes: B sequences, N tokens, K centres.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


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
    to_others_BNN = distances_BNN.diagonal_scatter(
        distances_BNN.new_full(distances_BNN.shape[:2], torch.inf), dim1=1, dim2=2
    )
    return farthest_first(distances_BNN, to_others_BNN.amin(2).argmax(1), num_keep)


def farthest_first(distances_BNN: Tensor, first_B: Tensor, num_keep: int) -> Tensor:
    """``first_B`` (long), then always the token farthest from all selected, [B, num_keep]."""
    selected = [first_B[:, None]]
    to_selection_BN = torch.full_like(distances_BNN[:, 0], torch.inf)
    for _ in range(num_keep - 1):
        newest_B1N = selected[-1][..., None].expand(-1, 1, distances_BNN.shape[2])
        to_newest_BN = distances_BNN.gather(1, newest_B1N)[:, 0]
        to_selection_BN = torch.minimum(to_selection_BN, to_newest_BN)
        to_selection_BN.scatter_(1, selected[-1], -torch.inf)
        selected.append(to_selection_BN.argmax(1, keepdim=True))
    return torch.cat(selected, 1)


def nearest_centre(distances_BNN: Tensor, centres_BK: Tensor) -> Tensor:
    """Index of the centre nearest to each token, [B, N]; a centre belongs to itself."""
    num_in, num_keep = distances_BNN.shape[2], centres_BK.shape[1]
    to_centres_BKN = distances_BNN.gather(1, centres_BK[..., None].expand(-1, -1, num_in))
    own_rows = torch.arange(num_keep, device=centres_BK.device).expand_as(centres_BK)
    return to_centres_BKN.argmin(1).scatter(1, centres_BK, own_rows)
