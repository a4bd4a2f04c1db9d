"""What the tests of visual-token methods share: layouts, and plain-Python versions of helpers."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import torch
from torch import Tensor

from methods.contexts import VisualContext, VisualLayout
from methods.deferred import PerLayer
from methods.transform import TokenTransform
from tests.methods.contexts import Shape, vlm_context

SINGLE = VisualLayout(1, (4, 6))
SEVERAL = VisualLayout(3, (3, 4), "several")
CROPS = VisualLayout(5, (4, 4), "crops", (2, 2))
LAYOUTS = (SINGLE, SEVERAL, CROPS)


def context(
    layout: VisualLayout, num_keep: int, *, seed: int = 0, layer: int = 0, lost: int = 0
) -> VisualContext:
    """All tokens of ``layout`` but ``lost`` ones, random, for two examples."""
    shape = Shape(num_in=layout.num_tokens - lost, num_keep=num_keep, seed=seed, layer=layer)
    return vlm_context(shape, layout)


def tokens_of(ctx: VisualContext, example: int) -> list[list[int]]:
    """Current tokens of every image."""
    origin = ctx.origin_BN[example].tolist()
    images: list[list[int]] = [[] for _ in range(ctx.layout.num_images)]
    for token, position in enumerate(origin):
        images[position // ctx.layout.per_image].append(token)
    return images


def budgets(weights: list[float], capacity: list[int], total: int) -> list[int]:
    """Largest remainder under capacities: images that would overflow are filled first."""
    exact = [Fraction(weight) for weight in weights]
    full: set[int] = set()
    while True:
        rest = total - sum(capacity[i] for i in full)
        everything = sum((w for i, w in enumerate(exact) if i not in full), Fraction(0))
        quotas = [
            Fraction(capacity[i]) if i in full else rest * w / everything
            for i, w in enumerate(exact)
        ]
        overflowing = {i for i, quota in enumerate(quotas) if quota > capacity[i]}
        if not overflowing:
            break
        full |= overflowing
    given = [floor(quota) for quota in quotas]
    for i in sorted(range(len(given)), key=lambda i: given[i] - quotas[i])[: total - sum(given)]:
        given[i] += 1
    return given


def even(ctx: VisualContext, example: int) -> list[int]:
    """Equal budgets of all images."""
    capacity = [len(tokens) for tokens in tokens_of(ctx, example)]
    return budgets([1.0] * len(capacity), capacity, ctx.num_keep)


def best(scores: list[float], tokens: list[int], count: int) -> list[int]:
    """The ``count`` best-scored of ``tokens``."""
    return sorted(tokens, key=lambda token: -scores[token])[:count]


def stored(layers: Tensor | PerLayer) -> Tensor:
    """Signals of all tower layers, which in these contexts are tensors."""
    assert isinstance(layers, Tensor)
    return layers


def class_attention(ctx: VisualContext, example: int, layer: int) -> list[float]:
    """Head average of the class token's attention to every current token."""
    width = ctx.layout.per_image
    return [
        float(
            stored(ctx.tower.cls_attention_LBIHP)[layer, example, at // width, :, at % width]
            .float()
            .mean()
        )
        for at in ctx.origin_BN[example].tolist()
    ]


def kept(w: TokenTransform, example: int) -> list[int]:
    """Tokens that a pruning W keeps."""
    assert not w.merges
    return w.dense()[example].argmax(1).tolist()


def tower_keys(ctx: VisualContext, example: int, layer: int) -> list[Tensor]:
    """Keys of every current token, [H, D] each."""
    width = ctx.layout.per_image
    return [
        stored(ctx.tower.keys_LBIHPD)[layer, example, at // width, :, at % width]
        for at in ctx.origin_BN[example].tolist()
    ]


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of two vectors or of matrices taken as vectors."""
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
