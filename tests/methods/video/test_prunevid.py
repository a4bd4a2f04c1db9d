"""PruneVid: segments, static places and clusters in plain Python; still and moving scenes."""

from __future__ import annotations

import math

import pytest
import torch

from methods.contexts import VisualContext
from methods.video._segments import clustered_segments, contiguous, numbered
from methods.video.prunevid import PruneVid
from tests.methods.video import clips
from tests.methods.vlm.plain import budgets, cosine

FRAMES, PLACES = 6, 12


def slow_static(
    ctx: VisualContext, example: int, segments: list[int], threshold: float
) -> dict[tuple[int, int], list[int]]:
    """Tokens of the static places, by segment and place; the most static as the budget allows."""
    hidden = ctx.hidden_BND[example].double()
    still = {}
    for segment in sorted(set(segments)):
        frames = [f for f in range(FRAMES) if segments[f] == segment]
        for place in range(PLACES):
            tokens = [PLACES * f + place for f in frames]
            pairs = [(a, b) for a in tokens for b in tokens if a < b]
            if pairs:
                mean = sum(cosine(hidden[a], hidden[b]) for a, b in pairs) / len(pairs)
                still[segment, place] = (mean, tokens)
    left, static = ctx.num_in, {}
    for key in sorted(still, key=lambda key: -still[key][0]):
        left -= len(still[key][1]) - 1
        if still[key][0] <= threshold or left < ctx.num_keep:
            break
        static[key] = still[key][1]
    return static


def slow_clusters(items: dict[int, torch.Tensor], count: int, neighbors: int) -> list[list[int]]:
    """DPC-KNN over the items of one set, by place."""
    places = sorted(items)
    distance = {
        (a, b): float((items[a] - items[b]).norm()) / 8**0.5 for a in places for b in places
    }
    nearest = {a: sorted(distance[a, b] for b in places)[:neighbors] for a in places}
    rho = {a: -sum(d * d for d in nearest[a]) / len(nearest[a]) for a in places}
    peak = {
        a: rho[a]
        + math.log(
            min([distance[a, b] for b in places if (rho[b], -b) > (rho[a], -a)], default=farthest)
        )
        for farthest in [max(max(distance.values()), 1e-30)]
        for a in places
    }
    centres = sorted(sorted(places, key=lambda a: -peak[a])[:count])
    clusters: dict[int, list[int]] = {centre: [] for centre in centres}
    for a in places:
        own = a if a in centres else min(centres, key=lambda centre: distance[a, centre])
        clusters[own].append(a)
    return list(clusters.values())


def slow_rows(ctx: VisualContext, example: int, method: PruneVid) -> list[dict[int, float]]:
    """Relative weight of every token in every output token, in no order."""
    hidden, sizes = ctx.hidden_BND[example].double(), ctx.sizes_BN[example].tolist()
    frame_means = hidden.view(1, FRAMES, PLACES, -1).mean(2).float()
    count = max(int(FRAMES * method.segment_share), 1)
    segments = clustered_segments(frame_means, count, method.num_neighbors)[0].tolist()
    static = slow_static(ctx, example, segments, method.similarity)
    taken = {token for tokens in static.values() for token in tokens}

    sets = [
        {place: tokens for (s, place), tokens in static.items() if s == segment}
        for segment in sorted(set(segments))
    ]
    for frame in range(FRAMES):
        tokens = {place: PLACES * frame + place for place in range(PLACES)}
        sets.append({place: [token] for place, token in tokens.items() if token not in taken})
    counts = [len(members) for members in sets]
    rows = []
    for members, budget in zip(
        sets, budgets([float(c) for c in counts], counts, ctx.num_keep), strict=True
    ):
        if budget:
            items = {place: hidden[tokens].mean(0) for place, tokens in members.items()}
            for cluster in slow_clusters(items, budget, method.num_neighbors):
                parts = [
                    (token, len(members[place])) for place in cluster for token in members[place]
                ]
                total = sum(sizes[token] / share for token, share in parts)
                rows.append({token: sizes[token] / share / total for token, share in parts})
    return rows


@pytest.mark.parametrize("num_keep", [10, 30, 60])
@pytest.mark.parametrize(
    "method",
    [
        PruneVid(segment_share=0.5, similarity=0.2),
        PruneVid(segment_share=0.34, similarity=0.0, num_neighbors=2),
        PruneVid(similarity=1.0, num_neighbors=3),
    ],
    ids=["half", "third", "nothing-static"],
)
def test_w_is_the_papers(num_keep: int, method: PruneVid) -> None:
    ctx = clips.video(num_keep, seed=num_keep)
    w = method.transform(ctx)
    for example in range(2):
        rows = slow_rows(ctx, example, method)
        dense = torch.tensor([[row.get(token, 0.0) for token in range(72)] for row in rows])
        assert len(dense) == num_keep
        order = [sorted(rows_of.tolist(), reverse=True) for rows_of in (dense, w.dense()[example])]
        torch.testing.assert_close(
            torch.tensor(order[1]), torch.tensor(order[0]), rtol=1e-4, atol=1e-5
        )


def test_runs_of_a_cluster_join_their_longer_neighbour() -> None:
    assert contiguous([0, 0, 0, 1, 0, 2, 2]) == [0, 0, 0, 0, 0, 2, 2]
    assert contiguous([0, 0, 1, 2, 2, 2]) == [0, 0, 2, 2, 2, 2]
    assert contiguous([0, 0, 1, 2, 2]) == [0, 0, 0, 2, 2]
    assert contiguous([0, 1, 1, 2]) == [1, 1, 1, 1]
    assert contiguous([0, 1, 2]) == [None] * 3
    assert numbered([4, 4, 1, 4]) == [0, 0, 1, 2]


def test_a_still_video_becomes_one_frame() -> None:
    w = PruneVid(segment_share=0.1).transform(clips.still_video(12, []))
    expected = {frozenset(range(place, 72, 12)) for place in range(12)}
    assert clips.groups(w, 0) == clips.groups(w, 1) == expected


def test_a_moving_token_is_not_averaged_over_time() -> None:
    ctx = clips.still_video(11 + 6, [(frame, 5) for frame in range(6)])
    groups = clips.groups(PruneVid(segment_share=0.1).transform(ctx), 0)
    assert groups == {
        *(frozenset(range(place, 72, 12)) for place in range(12) if place != 5),
        *(frozenset([12 * frame + 5]) for frame in range(6)),
    }


def test_two_scenes_are_averaged_each_on_its_own() -> None:
    ctx = clips.still_video(24, [])
    ctx.hidden_BND[:, 36:] = -ctx.hidden_BND[:, 36:]
    groups = clips.groups(PruneVid(segment_share=0.34, num_neighbors=2).transform(ctx), 0)
    assert groups == {
        *(frozenset(range(place, 36, 12)) for place in range(12)),
        *(frozenset(range(36 + place, 72, 12)) for place in range(12)),
    }
