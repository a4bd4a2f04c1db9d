"""What the tests of video methods share: layouts and groups of merged tokens."""

from __future__ import annotations

import torch

from methods.contexts import VisualContext, VisualLayout
from methods.transform import TokenTransform
from tests.methods.vlm.plain import context

VIDEO = VisualLayout(6, (3, 4), "frames")


def video(num_keep: int, *, layout: VisualLayout = VIDEO, seed: int = 0) -> VisualContext:
    """Random frames of two examples."""
    return context(layout, num_keep, seed=seed)


def still_video(num_keep: int, moving: list[tuple[int, int]]) -> VisualContext:
    """The same frame over and over, but for new tokens at ``moving`` (frame, place)."""
    ctx = video(num_keep)
    for start in range(12, 72, 12):
        ctx.hidden_BND[:, start : start + 12] = ctx.hidden_BND[:, :12]
    for frame, place in moving:
        fresh = torch.randn(8, generator=torch.Generator().manual_seed(frame))
        ctx.hidden_BND[:, 12 * frame + place] = fresh
    return ctx


def groups(w: TokenTransform, example: int) -> set[frozenset[int]]:
    """Tokens that share an output token."""
    return {frozenset(row.nonzero()[:, 0].tolist()) for row in w.dense()[example]}
