"""Frames as the methods of this folder see them.

Shapes: B examples, N current tokens, F frames, P places of a frame, D channels.
"""

from __future__ import annotations

from torch import Tensor

from methods.base import InfeasibleError
from methods.contexts import VisualContext


def whole_frames(ctx: VisualContext, reader: str) -> Tensor:
    """The tokens by frame and place, float [B, F, P, D].

    Raises InfeasibleError, in the name of ``reader``, where tokens were removed before: then frames
    no longer have a token for every place.
    """
    frames, places = ctx.layout.num_images, ctx.layout.per_image
    if ctx.num_in < frames * places:
        raise InfeasibleError(
            f"{reader} compares whole frames, but only {ctx.num_in} of {frames} x {places} tokens "
            f"are left: let it make the first cut"
        )
    return ctx.hidden_BND.float().view(ctx.batch, frames, places, -1)


def spread_ranks(count: int) -> list[int]:
    """An order of 0..count-1 of which every beginning is spread out: the rank of each number.

    Numbers are ordered by their reversed bits (van der Corput): 0, then the middle, the quarters...
    """
    bits = max((count - 1).bit_length(), 1)
    order = sorted(range(count), key=lambda number: f"{number:0{bits}b}"[::-1])
    ranks = [0] * count
    for rank, number in enumerate(order):
        ranks[number] = rank
    return ranks
