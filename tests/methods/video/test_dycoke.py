"""DyCoke: windows and references in plain Python, static scenes and moving tokens."""

from __future__ import annotations

import pytest

from methods.contexts import VisualContext, VisualLayout
from methods.video.dycoke import DyCoke, reference_frame
from tests.methods.video import clips
from tests.methods.vlm.plain import best, cosine, kept


def slow_kept(ctx: VisualContext, example: int, per_frame: int) -> list[int]:
    """The official procedure: the reference frames whole, the same number of each other frame."""
    hidden, frames = ctx.hidden_BND[example], ctx.layout.num_images
    chosen: list[int] = []
    for frame in range(frames):
        tokens = list(range(12 * frame, 12 * frame + 12))
        if frame % 4 == 0:
            chosen += tokens
            continue
        reference = frame - 1 if frame % 2 else frame - 2
        differences = [
            -cosine(hidden[token], hidden[token - 12 * (frame - reference)])
            if token in tokens
            else 0.0
            for token in range(len(hidden))
        ]
        chosen += best(differences, tokens, per_frame)
    return sorted(chosen)


@pytest.mark.parametrize("frames", [4, 7, 8])
@pytest.mark.parametrize("per_frame", [0, 3, 11])
def test_compared_frames_lose_the_same_share_to_their_references(
    frames: int, per_frame: int
) -> None:
    references = -(-frames // 4)
    num_keep = 12 * references + per_frame * (frames - references)
    ctx = clips.video(num_keep, layout=VisualLayout(frames, (3, 4), "frames"), seed=frames)
    w = DyCoke().transform(ctx)
    for example in range(2):
        assert kept(w, example) == slow_kept(ctx, example, per_frame)


def test_references_are_those_of_the_paper() -> None:
    assert [reference_frame(frame) for frame in range(8)] == [0, 0, 0, 2, 0, 4, 4, 6]
    assert [reference_frame(frame) for frame in (12, 16, 20)] == [8, 0, 16]


def test_below_a_quarter_the_windows_first_frames_are_a_slower_video() -> None:
    ctx = clips.video(12 + 5, layout=VisualLayout(8, (3, 4), "frames"))
    tokens = kept(DyCoke().transform(ctx), 0)
    assert tokens[:12] == list(range(12))
    differences = [
        -cosine(ctx.hidden_BND[0, 48 + place], ctx.hidden_BND[0, place]) for place in range(12)
    ]
    assert tokens[12:] == [48 + place for place in sorted(best(differences, list(range(12)), 5))]


def test_a_static_scene_is_its_references_and_what_moves() -> None:
    ctx = clips.still_video(24 + 4, [(1, 5), (2, 7), (5, 2)])
    w = DyCoke().transform(ctx)
    # Frame 3 is compared with frame 2, where place 7 was different.
    assert kept(w, 0) == kept(w, 1) == [*range(12), 17, 31, 43, *range(48, 60), 62]
