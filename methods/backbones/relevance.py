"""How much each token matters for what a model answers, by the gradient of its answer.

First order: with g the gradient of the answer with respect to a token's state x, the elements of
g * x say what the answer would lose if the state's elements were scaled down a little, and their
length says how much the token takes part in the answer, whether for or against it.

Shapes: B sequences, M tokens, D channels of the residual stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.transform import TokenTransform


def relevance(answers_B: Tensor, states_BMD: Sequence[Tensor]) -> list[Tensor]:
    """The length of gradient times state for every token of each state, float32 [B, M].

    ``answers_B`` (float) is what was computed from the states, one number for each sequence; no
    sequence's answer may depend on another's states.
    """
    gradients = torch.autograd.grad(answers_B.sum(), list(states_BMD))
    return [
        (gradient_BMD.float() * state_BMD.detach().float()).norm(dim=-1)
        for gradient_BMD, state_BMD in zip(gradients, states_BMD, strict=True)
    ]


def lead(logits: Tensor) -> Tensor:
    """How far the highest of the last dimension is above the next, in float32.

    What a model answers is decided by this difference, and not by what moves all logits alike.
    """
    best, next_best = logits.float().topk(2, dim=-1).values.unbind(-1)
    return best - next_best


def carried(relevance_BN: Tensor, transform: TokenTransform) -> Tensor:
    """Relevance after a reduction, [B, K]: a token has that of its parts together."""
    return transform.sizes(relevance_BN)
