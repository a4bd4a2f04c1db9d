"""Frames: what methods need of them, and orders that are spread out."""

from __future__ import annotations

import pytest

from methods.base import InfeasibleError
from methods.contexts import VisualLayout
from methods.video._frames import spread_ranks, whole_frames
from tests.methods.video import clips
from tests.methods.vlm.plain import context


def test_every_beginning_of_a_spread_order_is_spread_out() -> None:
    assert spread_ranks(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    for count in (1, 2, 3, 12, 100):
        ranks = spread_ranks(count)
        assert sorted(ranks) == list(range(count))
        for size in (2, 4, 8):
            first = sorted(number for number in range(count) if ranks[number] < size)
            if size <= count:
                widest = max(b - a for a, b in zip(first, [*first[1:], count], strict=True))
                assert widest <= 4 * count / size


def test_frames_are_in_the_order_of_the_video() -> None:
    ctx = clips.video(9)
    frames = whole_frames(ctx, "somebody")
    assert frames.shape == (2, 6, 12, 8)
    assert frames[1, 2, 5].equal(ctx.hidden_BND[1, 29])


def test_frames_with_missing_tokens_are_refused_with_a_reason() -> None:
    ctx = context(VisualLayout(6, (3, 4), "frames"), 9, layer=2, lost=10)
    with pytest.raises(InfeasibleError, match="somebody compares whole frames, but only 62 of 6 x"):
        whole_frames(ctx, "somebody")
