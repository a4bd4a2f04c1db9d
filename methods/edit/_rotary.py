"""Keys from one position to another.

Shapes: B sequences, K key/value heads, S entries, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

Angles = tuple[Tensor, Tensor]
"""Cosines and sines by which positions turn keys, float32 [S, D] each."""


def turned(keys_BKSD: Tensor, angles: Angles) -> Tensor:
    """Keys multiplied by their rotary matrices, in the keys' dtype, computed in float32.

    Channels c and c + D/2 form a plane, as in the rotary embedding of Llama and its relatives.
    """
    cos_SD, sin_SD = angles
    first, second = keys_BKSD.float().chunk(2, dim=-1)
    across_BKSD = torch.cat([-second, first], dim=-1)
    return (torch.cat([first, second], dim=-1) * cos_SD + across_BKSD * sin_SD).to(keys_BKSD.dtype)


def between(old: Angles, new: Angles) -> Angles:
    """What turns keys from their old positions to the new ones: R(new) R(old)^-1.

    The product is again one rotation per plane. Cosines and sines may carry a common factor, as
    YaRN's do; it is divided out.
    """
    (old_cos, old_sin), (new_cos, new_sin) = old, new
    length = old_cos.square() + old_sin.square()
    cos_SD = (new_cos * old_cos + new_sin * old_sin) / length
    sin_SD = (new_sin * old_cos - new_cos * old_sin) / length
    return cos_SD, sin_SD
