"""Cutting a video into stretches of similar frames by clustering, the way PruneVid does.

Shapes: B examples, F frames, D channels.
"""

from __future__ import annotations

from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from methods.base import top_indices
from methods.vision._clusters import nearest_centre
from methods.vlm._density import peak_scores, token_distances

T = TypeVar("T")


def clustered_segments(frames_BFD: Tensor, num_clusters: int, num_neighbors: int) -> Tensor:
    """Which stretch each frame belongs to, long [B, F], counted from 0 without gaps.

    Frames are clustered by density peaks (DPC-KNN), then every cluster is made contiguous.
    """
    distances_BFF = token_distances(frames_BFD)
    everyone_BF = torch.ones_like(distances_BFF[:, 0], dtype=torch.bool)
    scores_BF = peak_scores(distances_BFF, everyone_BF, num_neighbors)
    clusters_BF = nearest_centre(distances_BFF, top_indices(scores_BF, num_clusters))
    runs = [numbered(contiguous(clusters)) for clusters in clusters_BF.tolist()]
    return torch.tensor(runs, device=frames_BFD.device)


def contiguous(labels: list[int]) -> list[int | None]:
    """Every label keeps its longest runs; what is between them joins the longer neighbour.

    Runs of one frame are never kept. Neighbours of equal length: the earlier one, with what has
    joined it. None everywhere if no run is longer than one frame.
    """
    runs = _runs(labels)
    longest = {label: max(size for other, size in runs if other == label) for label in labels}
    kept: list[int | None] = []
    for label, size in runs:
        kept += [label if size == longest[label] > 1 else None] * size

    joined: list[int | None] = []
    kept_runs = _runs(kept)
    for place, (home, size) in enumerate(kept_runs):
        around = _runs(joined)[-1:] + kept_runs[place + 1 : place + 2]
        if home is None and around:
            joined += [max(around, key=lambda run: run[1])[0]] * size
        else:
            joined += [home] * size
    return joined


def _runs(labels: list[T]) -> list[tuple[T, int]]:
    return [(label, len(list(group))) for label, group in groupby(labels)]


def numbered(labels: list[int | None]) -> list[int]:
    """The runs of equal labels, counted from 0."""
    sizes = (size for _, size in _runs(labels))
    return [run for run, size in enumerate(sizes) for _ in range(size)]
