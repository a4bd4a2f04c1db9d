"""COVE: correspondence and chains in plain Python, and a token that wanders over the frame."""

from __future__ import annotations

import pytest
import torch

from methods.contexts import VisualContext, VisualLayout
from methods.video.cove import COVE
from tests.methods.video import clips
from tests.methods.vlm.plain import cosine


def slow_links(ctx: VisualContext, example: int, window: int) -> dict[int, tuple[float, int]]:
    """For every token but the last frame's: cosine and index of its correspondent."""
    hidden, links = ctx.hidden_BND[example].double(), {}
    for token in range(60):
        frame, row, column = token // 12, token % 12 // 4, token % 4
        candidates = [
            12 * (frame + 1) + 4 * r + c
            for r in range(3)
            for c in range(4)
            if 2 * max(abs(r - row), abs(c - column)) <= window
        ]
        best = max(candidates, key=lambda other: cosine(hidden[token], hidden[other]))
        links[token] = (cosine(hidden[token], hidden[best]), best)
    return links


def slow_groups(ctx: VisualContext, example: int, window: int) -> set[frozenset[int]]:
    links = slow_links(ctx, example, window)
    strongest = sorted(links, key=lambda token: -links[token][0])[: ctx.num_in - ctx.num_keep]
    group_of = {token: {token} for token in range(72)}
    for token in strongest:
        together = group_of[token] | group_of[links[token][1]]
        for member in together:
            group_of[member] = together
    return {frozenset(group) for group in group_of.values()}


@pytest.mark.parametrize("num_keep", [12, 20, 50, 71])
@pytest.mark.parametrize("window", [1, 2, 4, 9])
def test_the_strongest_correspondences_become_one_token_each(num_keep: int, window: int) -> None:
    ctx = clips.video(num_keep, seed=num_keep)
    w = COVE(window=window).transform(ctx)
    for example in range(2):
        assert clips.groups(w, example) == slow_groups(ctx, example, window)


def test_a_static_scene_becomes_one_frame() -> None:
    w = COVE().transform(clips.still_video(12, []))
    expected = {frozenset(range(place, 72, 12)) for place in range(12)}
    assert clips.groups(w, 0) == clips.groups(w, 1) == expected


def test_a_wandering_token_is_followed_through_the_frames() -> None:
    ctx = clips.video(72 - 5)
    path = [0, 12 + 1, 24 + 6, 36 + 6, 48 + 11, 60 + 10]
    ctx.hidden_BND[:, path] = torch.linspace(1, 2, 8)
    w = COVE(window=3).transform(ctx)
    assert frozenset(path) in clips.groups(w, 0)


def test_a_token_that_jumps_out_of_the_window_is_lost() -> None:
    ctx = clips.video(71)
    ctx.hidden_BND[:, [0, 12 + 11]] = torch.linspace(1, 2, 8)
    assert frozenset([0, 23]) in clips.groups(COVE(window=9).transform(ctx), 0)
    assert frozenset([0, 23]) not in clips.groups(COVE(window=3).transform(ctx), 0)


def test_below_one_frame_chains_are_merged_with_each_other() -> None:
    ctx = clips.video(4)
    chains = clips.groups(COVE().transform(clips.video(12)), 0)
    for group in clips.groups(COVE().transform(ctx), 0):
        assert all(chain <= group or not chain & group for chain in chains)


def test_a_single_picture_is_merged_like_a_last_frame() -> None:
    ctx = clips.video(5, layout=VisualLayout(1, (3, 4)))
    assert sum(len(group) for group in clips.groups(COVE().transform(ctx), 0)) == 12
