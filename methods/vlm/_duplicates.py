"""Removing duplicates round by round, the way VisPruner does.

Shapes: B examples, N current tokens, I images per example, G = B I queues of tokens, M places of a
queue.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.contexts import VisualContext
from methods.vlm._budgets import image_of, tokens_per_image
from methods.vlm._tower import at_origin


class Rest:
    """The tokens of every image that are not important, by falling attention.

    G = B I queues, of which the first ``lengths_G`` places of M are taken.
    """

    def __init__(self, ctx: VisualContext, places_BN: Tensor) -> None:
        images, width = ctx.layout.num_images, ctx.layout.per_image
        self._shape = (ctx.batch, ctx.num_in)
        in_rest_BN = places_BN >= 0
        # Important tokens go to a place behind all queues, which is cut off.
        slots_BN = (image_of(ctx) * width + places_BN).where(in_rest_BN, images * width)
        tokens = torch.zeros(ctx.batch, images * width + 1, dtype=torch.long, device=ctx.device)
        own = torch.arange(ctx.num_in, device=ctx.device).expand(ctx.batch, -1)
        self._tokens_BS = tokens.scatter(1, slots_BN, own)[:, :-1]
        self._lengths_G = (tokens_per_image(ctx) - _important(in_rest_BN, ctx)).flatten()

        features_BND = at_origin(ctx.tower.hidden_BIPD, ctx)
        index_BSD = self._tokens_BS[..., None].expand(-1, -1, features_BND.shape[2])
        queues_GMD = (
            normalize(features_BND, dim=-1).gather(1, index_BSD).view(ctx.batch * images, width, -1)
        )
        self._cosines_GMM = queues_GMD @ queues_GMD.transpose(1, 2)

    def distinct(self, wanted_BI: Tensor, round_size: int) -> Tensor:
        """What is left when all but ``wanted_BI`` of each queue are removed, bool [B, N]."""
        wanted_G = wanted_BI.flatten()
        lengths_G = self._lengths_G * (wanted_G > 0)
        order_GM = torch.arange(self._cosines_GMM.shape[1], device=wanted_G.device)
        order_GM = order_GM.expand(len(wanted_G), -1)
        while bool((lengths_G > wanted_G).any()):
            surplus_G = (lengths_G - wanted_G).clamp_min(0)
            remove_G = surplus_G.clamp_max(round_size).minimum(lengths_G // 2)
            order_GM = remove_duplicates(self._cosines_GMM, order_GM, lengths_G, remove_G)
            lengths_G = lengths_G - remove_G
        return self._marked(order_GM, lengths_G)

    def _marked(self, order_GM: Tensor, lengths_G: Tensor) -> Tensor:
        places = torch.arange(order_GM.shape[1], device=order_GM.device)
        left_GM = torch.zeros_like(order_GM).scatter(
            1, order_GM, (places < lengths_G[:, None]).long()
        )
        batch, num_in = self._shape
        marks_BN = torch.zeros(batch, num_in, dtype=torch.long, device=order_GM.device)
        return marks_BN.scatter_add(1, self._tokens_BS, left_GM.view(batch, -1)) > 0


def _important(in_rest_BN: Tensor, ctx: VisualContext) -> Tensor:
    counts_BI = torch.zeros(ctx.batch, ctx.layout.num_images, dtype=torch.long, device=ctx.device)
    return counts_BI.scatter_add(1, image_of(ctx), (~in_rest_BN).long())


def remove_duplicates(
    cosines_GMM: Tensor, order_GM: Tensor, lengths_G: Tensor, remove_G: Tensor
) -> Tensor:
    """One round: the new order of each queue, with the ``remove_G`` duplicates behind its end.

    The first ``lengths_G`` of ``order_GM`` are in the queue, at even places A and at odd places B.
    What stays of A comes first, most similar to B in front, then B.
    """
    width = order_GM.shape[1]
    places = torch.arange(width, device=order_GM.device)
    in_queue_GM = places < lengths_G[:, None]
    in_a_GM, in_b_GM = in_queue_GM & (places % 2 == 0), in_queue_GM & (places % 2 == 1)

    rows_GMM = cosines_GMM.gather(1, order_GM[..., None].expand(-1, -1, width))
    ordered_GMM = rows_GMM.gather(2, order_GM[:, None].expand(-1, width, -1))
    to_b_GM = ordered_GMM.where(in_b_GM[:, None], -2.0).amax(2)
    by_similarity_GM = to_b_GM.where(in_a_GM, -3.0).argsort(dim=1, descending=True, stable=True)
    standing_GM = by_similarity_GM.argsort(1)

    removed_GM = in_a_GM & (standing_GM < remove_G[:, None])
    position_GM = standing_GM.where(in_a_GM, width + places)
    position_GM = position_GM.where(in_queue_GM & ~removed_GM, 2 * width + places)
    return order_GM.gather(1, position_GM.argsort(1))
