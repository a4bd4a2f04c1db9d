"""K-medoids: its two steps in plain Python, and that they only ever improve the clusters."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from methods.vision.k_medoids import KMedoids
from tests.methods.contexts import Shape, vision_context

Matrix = list[list[float]]


def distances_of(hidden_ND: Tensor) -> Matrix:
    points = hidden_ND.double().tolist()
    return [[math.dist(a, b) for b in points] for a in points]


def slow_start(distances: Matrix, num_keep: int) -> list[int]:
    everyone = range(len(distances))
    chosen = [max(everyone, key=lambda i: min(distances[i][j] for j in everyone if j != i))]
    while len(chosen) < num_keep:
        rest = [i for i in everyone if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(distances[i][j] for j in chosen)))
    return chosen


def slow_medoids(
    distances: Matrix, weights: list[float], num_keep: int, iterations: int
) -> list[int]:
    medoids = slow_start(distances, num_keep)
    for _ in range(iterations):
        clusters: dict[int, list[int]] = {m: [] for m in medoids}
        for i, row in enumerate(distances):
            clusters[min(medoids, key=lambda m: row[m])].append(i)
        medoids = [
            min(members, key=lambda m: sum(weights[i] * distances[i][m] for i in members))
            for members in clusters.values()
        ]
    return sorted(medoids)


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 1), (9, 8), (25, 7)])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_medoids_are_those_of_the_two_steps(num_in: int, num_keep: int, iterations: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, batch=3))
    w = KMedoids(iterations=iterations).transform(ctx)
    for example in range(ctx.batch):
        distances = distances_of(ctx.hidden_BND[example])
        weights = ctx.sizes_BN[example].tolist()
        assert w.cols[example].tolist() == slow_medoids(distances, weights, num_keep, iterations)


@pytest.mark.parametrize("seed", range(4))
def test_every_iteration_brings_tokens_closer_to_their_medoids(seed: int) -> None:
    ctx = vision_context(Shape(num_in=40, num_keep=6, seed=seed))
    distances_BNN = torch.cdist(ctx.hidden_BND, ctx.hidden_BND)
    costs = []
    for iterations in range(5):
        medoids_BK = KMedoids(iterations=iterations).transform(ctx).cols
        to_medoids_BKN = distances_BNN.gather(1, medoids_BK[..., None].expand(-1, -1, 40))
        costs.append((to_medoids_BKN.amin(1) * ctx.sizes_BN).sum(1))
    assert all((after <= before + 1e-4).all() for before, after in pairwise(costs))
    assert (costs[-1] < costs[0]).any()


def test_every_well_separated_cluster_keeps_one_token() -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=4))
    label_N = torch.arange(20) % 4
    ctx.hidden_BND.mul_(0.1).add_(20 * torch.eye(8)[label_N])
    kept_BK = KMedoids().transform(ctx).cols
    assert (label_N[kept_BK].sort(1).values == torch.arange(4)).all()
