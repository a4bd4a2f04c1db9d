"""FastVID: segments, anchors and what they are made of in plain Python; scenes and still frames."""

from __future__ import annotations

import math
from math import ceil

import pytest
import torch
from torch import Tensor

from methods.contexts import VisualContext
from methods.video.fastvid import FastVID
from tests.methods.video import clips
from tests.methods.vlm.plain import best, budgets, class_attention, cosine

FRAMES, PLACES = 6, 12


def slow_segments(ctx: VisualContext, example: int, count: int, threshold: float) -> list[int]:
    frames = ctx.tower.hidden_BIPD[example].double().mean(1)
    near = [cosine(frames[f], frames[f + 1]) for f in range(FRAMES - 1)]
    lowest = sorted(range(FRAMES - 1), key=lambda f: near[f])[: count - 1]
    segments = [0]
    for frame in range(FRAMES - 1):
        segments.append(segments[-1] + (frame in lowest or near[frame] < threshold))
    return segments


def density(hidden: Tensor, members: list[int]) -> dict[int, float]:
    """rho * delta of the tokens of one frame, as a logarithm."""
    distance = {
        (a, b): float((hidden[a] - hidden[b]).norm()) / 8**0.5 for a in members for b in members
    }
    rho = {a: -sum(d * d for d in sorted(distance[a, b] for b in members)[:4]) / 4 for a in members}
    farthest = max(distance.values())
    return {
        a: rho[a]
        + math.log(
            min([distance[a, b] for b in members if (rho[b], -b) > (rho[a], -a)] + [farthest])
        )
        for a in members
    }


def slow_rows(ctx: VisualContext, example: int, method: FastVID) -> dict[int, list[float]]:
    """Weights of every output token, by the token that it stands for."""
    hidden = ctx.hidden_BND[example].double()
    num_anchors = int(ctx.num_keep * method.merged_share)
    capacity = [PLACES] * FRAMES
    per_frame = budgets([1.0] * FRAMES, capacity, ctx.num_keep - num_anchors)
    attention = class_attention(ctx, example, ctx.tower.selected)
    tokens = [list(range(PLACES * f, PLACES * f + PLACES)) for f in range(FRAMES)]
    salient = [set(best(attention, tokens[f], per_frame[f])) for f in range(FRAMES)]
    rest = [[t for t in tokens[f] if t not in salient[f]] for f in range(FRAMES)]

    segments = slow_segments(ctx, example, method.segments, method.similarity)
    weights = [0.0] * FRAMES
    for frame in range(FRAMES):
        members = [f for f in range(FRAMES) if segments[f] == segments[frame]]
        if (members[-1] - frame) % method.stride == 0:
            weights[frame] = len(members) / ceil(len(members) / method.stride)
    anchor_budgets = budgets(weights, [len(r) for r in rest], num_anchors)

    rows = {t: [float(t == n) for n in range(72)] for frame in salient for t in frame}
    for frame in range(FRAMES):
        if not anchor_budgets[frame]:
            continue
        peaks = density(hidden, rest[frame])
        anchors = sorted(rest[frame], key=lambda t: -peaks[t])[: anchor_budgets[frame]]
        joined: dict[int, list[int]] = {anchor: [] for anchor in anchors}
        for other in range(FRAMES):
            if segments[other] == segments[frame]:
                for t in rest[other]:
                    joined[max(sorted(anchors), key=lambda a: cosine(hidden[t], hidden[a]))].append(
                        t
                    )
        for anchor, group in joined.items():
            own = max(1 / (len(group) + 1), method.beta)
            rows[anchor] = [
                own * (n == anchor) + (1 - own) * (n in group) / len(group) for n in range(72)
            ]
    return rows


@pytest.mark.parametrize("num_keep", [12, 30, 50])
@pytest.mark.parametrize(
    "method",
    [
        FastVID(),
        FastVID(segments=2, similarity=-1, stride=2),
        FastVID(segments=1, similarity=-1, merged_share=0.3, stride=2, beta=0.1),
    ],
    ids=["scenes-of-one-frame", "two-scenes", "one-scene"],
)
def test_w_is_the_papers(num_keep: int, method: FastVID) -> None:
    ctx = clips.video(num_keep, seed=num_keep)
    w = method.transform(ctx)
    for example in range(2):
        expected = slow_rows(ctx, example, method)
        dense = torch.tensor([expected[token] for token in sorted(expected)])
        torch.testing.assert_close(w.dense()[example], dense, rtol=1e-4, atol=1e-5)


def test_scenes_are_cut_where_neighbouring_frames_differ() -> None:
    ctx = clips.video(12)
    tower = ctx.tower.hidden_BIPD
    tower[:, 1] = tower[:, 0]
    tower[:, 3] = tower[:, 4] = tower[:, 2]
    tower[:, 2:5] += 0.001 * torch.randn(
        tower[:, 2:5].shape, generator=torch.Generator().manual_seed(0)
    )
    assert FastVID(segments=1).segment(ctx).tolist() == [[0, 0, 1, 1, 1, 2]] * 2


def test_a_still_scene_is_merged_into_its_last_frame() -> None:
    """Anchors stand in every fourth frame from the last; the other frames join them."""
    ctx = clips.still_video(20, [])
    method = FastVID(segments=1, similarity=-1, stride=6, merged_share=0.7)
    w = method.transform(ctx)
    merged = [row.nonzero()[:, 0].tolist() for row in w.dense()[0] if (row > 0).sum() > 1]
    assert merged
    for group in merged:
        assert group[-1] // 12 == 5
        assert {token // 12 for token in group} > {5}


def test_salient_tokens_stay_unmixed() -> None:
    ctx = clips.video(30)
    w = FastVID(merged_share=0.0).transform(ctx)
    assert (w.dense().amax(2) == 1).all()
