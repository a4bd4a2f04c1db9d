"""TempMe: the merging steps in plain Python; first within frames, then across clips."""

from __future__ import annotations

from math import ceil, log2

import pytest

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
            budget = max(1, ceil(held * num_tokens)) if step < steps else ctx.num_keep
            found[clip] = merged_parts(ctx, example, parts, budget)
        if step < steps:
            found = [sum(found[i : i + 2], []) for i in range(0, len(found), 2)]
    return {frozenset(part) for part in found[0]}


@pytest.mark.parametrize("num_keep", [1, 5, 18, 40])
@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_frames_and_then_ever_longer_clips_are_merged(num_keep: int, frames: int) -> None:
    layout = VisualLayout(frames, (3, 4), "frames")
    ctx = clips.video(min(num_keep, 12 * frames - 1), layout=layout, seed=frames)
    w = TempMe().transform(ctx)
    for example in range(2):
        assert clips.groups(w, example) == slow_groups(ctx, example)


def test_a_static_scene_keeps_every_place_apart() -> None:
    """Merging across frames joins what repeats, not what is different."""
    layout = VisualLayout(4, (2, 3), "frames")
    ctx = clips.video(6, layout=layout)
    for start in range(0, 24, 6):
        ctx.hidden_BND[:, start : start + 6] = 0.0
        for place in range(6):
            ctx.hidden_BND[:, start + place, place] = 1.0
    # Frames of six different tokens: only joined frames have anything alike to merge.
    w = TempMe().transform(ctx)
    for group in clips.groups(w, 0):
        assert len(group) >= 1
    assert w.num_out == 6
