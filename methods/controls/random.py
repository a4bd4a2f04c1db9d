"""Random: a uniformly random subset of the tokens, in their original order.

Control, no paper. What a method gains over this is what its scores are worth.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import ScoringMethod
from methods.contexts import TokenContext


class Random(ScoringMethod[TokenContext]):
    """Every subset of the budget's size is equally likely, independently for every sequence.

    The draws come from ``ctx.generator``, on the CPU, so that they are the same on every device.
    They depend on the place of a sequence in its batch: the first one draws what it would draw
    alone, a later one does not.
    """

    version: ClassVar[int] = 2

    def score(self, ctx: TokenContext) -> Tensor:
        """Uniform draws in [0, 1), [B, N]."""
        draws_BN = torch.rand(ctx.batch, ctx.num_in, generator=ctx.generator)
        return draws_BN.to(ctx.device)
