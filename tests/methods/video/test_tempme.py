"""TempMe: the merging steps in plain Python; first within frames, then across clips."""

from __future__ import annotations

from math import ceil, log2

import pytest
import torch

from methods.contexts import VisualContext, VisualLayout
from methods.video.tempme import TempMe
from tests.methods.video import clips
from tests.methods.vlm.test_aim_adaptive import merged_parts


def slow_groups(ctx: VisualContext, example: int) -> set[frozenset[int]]:
    frames = ctx.layout.num_images
    found = [[[12 * frame + place] for place in range(12)] for frame in range(frames)]
    steps = 1 + ceil(log2(frames)) if frames > 1 else 1
    for step in range(1, steps + 1):
        held = (ctx.num_keep / ctx.num_in) ** (step / steps)
        for clip, parts in enumerate(found):
            num_tokens = sum(len(part) for part in parts)
            budget = max(1, ceil(held * num_tokens - 1e-6)) if step < steps else ctx.num_keep
            found[clip] = merged_parts(ctx, example, parts, budget)
        if step < steps:
            found = [
                [part for parts in found[i : i + 2] for part in parts]
                for i in range(0, len(found), 2)
            ]
    return {frozenset(part) for part in found[0]}


@pytest.mark.parametrize("num_keep", [1, 5, 18, 40])
@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_frames_and_then_ever_longer_clips_are_merged(num_keep: int, frames: int) -> None:
    layout = VisualLayout(frames, (3, 4), "frames")
    ctx = clips.video(min(num_keep, 12 * frames - 1), layout=layout, seed=frames)
    w = TempMe().transform(ctx)
    for example in range(2):
        assert clips.groups(w, example) == slow_groups(ctx, example)


def test_what_repeats_within_and_across_frames_is_merged_and_nothing_else() -> None:
    ctx = clips.video(3, layout=VisualLayout(4, (2, 3), "frames"))
    kinds = [0, 0, 1, 1, 2, 2] * 4
    ctx.hidden_BND.copy_(torch.eye(8)[kinds])
    w = TempMe().transform(ctx)
    expected = {frozenset(n for n, kind in enumerate(kinds) if kind == k) for k in range(3)}
    assert clips.groups(w, 0) == clips.groups(w, 1) == expected
