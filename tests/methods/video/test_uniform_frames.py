"""Uniform frames: whole frames, evenly spaced, and the budget met."""

from __future__ import annotations

from itertools import pairwise

import pytest

from methods.contexts import VisualLayout
from methods.video.uniform_frames import UniformFrames
from tests.methods.video import clips
from tests.methods.vlm.plain import context, kept


@pytest.mark.parametrize(
    ("num_keep", "frames"), [(12, [3]), (24, [1, 4]), (36, [1, 3, 5]), (60, [0, 1, 3, 4, 5])]
)
def test_a_budget_of_whole_frames_keeps_the_middles_of_equal_stretches(
    num_keep: int, frames: list[int]
) -> None:
    w = UniformFrames().transform(clips.video(num_keep))
    for example in range(2):
        assert kept(w, example) == [12 * frame + place for frame in frames for place in range(12)]


def test_the_last_frame_is_kept_in_part_and_spread_out() -> None:
    tokens = kept(UniformFrames().transform(clips.video(12 + 4)), 0)
    assert tokens[:12] == list(range(12, 24))
    assert [token // 12 for token in tokens[12:]] == [4] * 4
    assert max(b - a for a, b in pairwise(tokens[12:])) <= 4


def test_frames_that_lost_tokens_before_make_room_for_more_frames() -> None:
    ctx = context(VisualLayout(6, (3, 4), "frames"), 24, layer=2, lost=24)
    w = UniformFrames().transform(ctx)
    for example in range(2):
        origins = ctx.origin_BN[example, kept(w, example)] // 12
        assert len(set(origins.tolist())) >= 3
