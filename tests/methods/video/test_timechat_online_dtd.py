"""Differential Token Drop: both signals in plain Python, static scenes and moving tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from methods.contexts import VisualContext, VisualLayout
from methods.video.timechat_online_dtd import DifferentialTokenDrop
from tests.methods.video import clips
from tests.methods.vlm.plain import best, context, cosine, kept

Signal = Literal["feature", "pixel"]


def slow_change(ctx: VisualContext, example: int, frame: int, place: int, signal: Signal) -> float:
    if signal == "feature":
        hidden = ctx.hidden_BND[example]
        return 1 - cosine(hidden[12 * frame + place], hidden[12 * (frame - 1) + place])
    now, before = (ctx.tower.pixels_BICHW[example, f] for f in (frame, frame - 1))
    height, width = now.shape[1] // 3, now.shape[2] // 4
    top, left = place // 4 * height, place % 4 * width
    patch = (slice(None), slice(top, top + height), slice(left, left + width))
    return float((now[patch] - before[patch]).abs().mean())


def with_larger_pixels(ctx: VisualContext) -> VisualContext:
    pixels = ctx.tower.pixels_BICHW
    large = pixels.repeat_interleave(2, -2).repeat_interleave(3, -1)
    return replace(ctx, tower=replace(ctx.tower, pixels_BICHW=large * large.sin().cumsum(-1)))


@pytest.mark.parametrize("signal", ["feature", "pixel"])
@pytest.mark.parametrize("num_keep", [13, 30, 71])
def test_the_least_changed_tokens_are_dropped_and_the_first_frame_is_kept(
    signal: Signal, num_keep: int
) -> None:
    ctx = with_larger_pixels(clips.video(num_keep, seed=num_keep))
    w = DifferentialTokenDrop(signal=signal).transform(ctx)
    for example in range(2):
        change = [0.0] * 12 + [
            slow_change(ctx, example, frame, place, signal)
            for frame in range(1, 6)
            for place in range(12)
        ]
        expected = list(range(12)) + best(change, list(range(12, 72)), num_keep - 12)
        assert kept(w, example) == sorted(expected)


def test_a_static_scene_is_its_first_frame_and_what_moves() -> None:
    moving = [(2, 5), (4, 9)]
    # What comes and goes again changes twice.
    ctx = clips.still_video(12 + 4, moving)
    w = DifferentialTokenDrop().transform(ctx)
    changed = [29, 41, 57, 69]
    assert kept(w, 0) == kept(w, 1) == list(range(12)) + changed


def test_a_budget_below_one_frame_thins_the_first_frame_evenly() -> None:
    w = DifferentialTokenDrop().transform(clips.video(4))
    tokens = kept(w, 0)
    assert max(tokens) < 12
    assert max(b - a for a, b in zip(tokens, [*tokens[1:], 12], strict=True)) <= 4


def test_a_token_whose_predecessor_is_gone_counts_as_new() -> None:
    ctx = context(VisualLayout(6, (3, 4), "frames"), 40, layer=2, lost=20)
    scores_BN = DifferentialTokenDrop().score(ctx)
    for example in range(2):
        present = ctx.origin_BN[example].tolist()
        for token, origin in enumerate(present):
            if origin >= 12 and origin - 12 not in present:
                assert scores_BN[example, token] == 2
