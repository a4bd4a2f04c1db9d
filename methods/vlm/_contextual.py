"""Dominant tokens as they are, all others merged into contextual ones: the step of VisionZip.

Shapes: B examples, N current tokens, I groups of tokens that are reduced on their own, D channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from methods.transform import TokenTransform
from methods.vlm._selection import best_of_each


def dominant_and_contextual(
    scores_BN: Tensor,
    keys_BND: Tensor,
    groups_BN: Tensor,
    budgets_BI: Tensor,
    contextual_share: float,
) -> TokenTransform:
    """The W of VisionZip: the best tokens of every group, and averages of the others.

    Of a group's budget, ``contextual_share`` (rounded half up) are contextual tokens: of the
    group's other tokens every n-th is a target, the rest join the target with the most similar key
    (cosine). Without contextual tokens the others are pruned. As in the official code, a contextual
    token is its target *plus* the mean of those that joined: W averages both, and its gain is 2.

    Rows follow the original order of dominant tokens and targets; the official code puts contextual
    tokens behind all dominant ones.
    """
    contextual_BI = (budgets_BI * contextual_share + 0.5).floor().long()
    dominant_BN = best_of_each(scores_BN, groups_BN, budgets_BI - contextual_BI)
    targets_BN = every_nth(~dominant_BN, groups_BN, contextual_BI)
    kept_BN = dominant_BN | targets_BN
    nearest_BN = most_similar_target(keys_BND, groups_BN, targets_BN)
    joins_BN = ~kept_BN & (contextual_BI.gather(1, groups_BN) > 0)
    return join(kept_BN, nearest_BN, joins_BN)


def every_nth(others_BN: Tensor, groups_BN: Tensor, wanted_BI: Tensor) -> Tensor:
    """``wanted_BI`` tokens of each group at equal steps among ``others_BN`` (bool), bool [B, N]."""
    members_BNI = one_hot(groups_BN, wanted_BI.shape[1]) * others_BN[..., None]
    places_BN = (members_BNI.cumsum(1) - members_BNI).gather(2, groups_BN[..., None])[..., 0]
    steps_BI = (members_BNI.sum(1) // wanted_BI.clamp_min(1)).clamp_min(1)
    steps_BN, wanted_BN = steps_BI.gather(1, groups_BN), wanted_BI.gather(1, groups_BN)
    return others_BN & (places_BN % steps_BN == 0) & (places_BN // steps_BN < wanted_BN)


def most_similar_target(keys_BND: Tensor, groups_BN: Tensor, targets_BN: Tensor) -> Tensor:
    """Index of the target of its own group whose key is most similar to each token's, [B, N]."""
    directions_BND = normalize(keys_BND, dim=-1)
    cosines_BNN = directions_BND @ directions_BND.transpose(1, 2)
    together_BNN = groups_BN[:, :, None] == groups_BN[:, None, :]
    return cosines_BNN.where(together_BNN & targets_BN[:, None], -torch.inf).argmax(2)


def join(kept_BN: Tensor, target_BN: Tensor, joins_BN: Tensor) -> TokenTransform:
    """Kept tokens, each plus the mean of those that join it; tokens that do neither are pruned."""
    rows_BN = kept_BN.long().cumsum(1) - kept_BN.long()
    own_rows_BN = rows_BN.where(kept_BN, rows_BN.gather(1, target_BN) * joins_BN)
    joined_BN = torch.zeros_like(target_BN).scatter_add(1, target_BN, joins_BN.long())
    weights_BN = joined_BN.clamp_min(1).where(kept_BN, joins_BN.long()).float()
    num_out = int(kept_BN[0].sum())
    w = TokenTransform.merge(own_rows_BN, weights_BN, num_out)
    gains_BK = (1 + (joined_BN > 0).float())[kept_BN].view(-1, num_out)
    return replace(w, gains=gains_BK)
