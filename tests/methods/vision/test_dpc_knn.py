"""DPC-KNN: density, distance indicator and assignment in plain Python; clusters it must find."""

from __future__ import annotations

import math

import pytest
import torch

from methods.vision.dpc_knn import DPCKNN, distance_to_denser, log_density
from tests.methods.contexts import Shape, vision_context

Matrix = list[list[float]]


def slow_density(distances: Matrix, k: int) -> list[float]:
    return [math.exp(-sum(d * d for d in sorted(row)[:k]) / k) for row in distances]


def slow_delta(distances: Matrix, density: list[float]) -> list[float]:
    largest = max(max(row) for row in distances)
    return [
        min((row[j] for j, other in enumerate(density) if other > density[i]), default=largest)
        for i, row in enumerate(distances)
    ]


def slow_groups(distances: Matrix, num_keep: int, k: int) -> list[set[int]]:
    density = slow_density(distances, k)
    delta = slow_delta(distances, density)
    score = [rho * far for rho, far in zip(density, delta, strict=True)]
    centres = sorted(sorted(range(len(score)), key=lambda i: -score[i])[:num_keep])
    groups: dict[int, set[int]] = {centre: {centre} for centre in centres}
    for i, row in enumerate(distances):
        if i not in groups:
            groups[min(centres, key=lambda centre: row[centre])].add(i)
    return [groups[centre] for centre in centres]


def distances_of(hidden_ND: torch.Tensor) -> Matrix:
    scaled = (hidden_ND.double() / hidden_ND.shape[1] ** 0.5).tolist()
    return [[math.dist(a, b) for b in scaled] for a in scaled]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_density_and_delta_are_the_papers(k: int) -> None:
    hidden_ND = vision_context(Shape(num_in=14, num_keep=3)).hidden_BND[0]
    distances = distances_of(hidden_ND)
    log_density_BN = log_density(torch.tensor([distances]), k)
    density = slow_density(distances, k)
    torch.testing.assert_close(log_density_BN[0].exp().tolist(), density)

    if k > 1:  # with k = 1 a token is its only neighbour and all densities are equal
        delta_BN = distance_to_denser(torch.tensor([distances]), log_density_BN)
        torch.testing.assert_close(delta_BN[0].tolist(), slow_delta(distances, density))


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 1), (9, 8), (24, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_the_papers(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed))
    method = DPCKNN(num_neighbors=min(3, num_in))
    dense_BKN = method.transform(ctx).dense()
    for example in range(ctx.batch):
        distances = distances_of(ctx.hidden_BND[example])
        groups = slow_groups(distances, num_keep, method.num_neighbors)
        assert [set(row.nonzero()[:, 0].tolist()) for row in dense_BKN[example]] == groups
        for row, group in enumerate(groups):
            members = sorted(group)
            sizes = ctx.sizes_BN[example, members]
            torch.testing.assert_close(dense_BKN[example, row, members], sizes / sizes.sum())


def test_well_separated_clusters_are_found() -> None:
    ctx = vision_context(Shape(num_in=20, num_keep=4, batch=1))
    label_N = torch.arange(20) % 4
    ctx.hidden_BND.mul_(0.1).add_(20 * torch.eye(8)[label_N])
    dense_KN = DPCKNN().transform(ctx).dense()[0]
    found = {frozenset(row.nonzero()[:, 0].tolist()) for row in dense_KN}
    assert found == {frozenset((label_N == kind).nonzero()[:, 0].tolist()) for kind in range(4)}


def test_large_hidden_states_do_not_underflow() -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=4, batch=1))
    ctx.hidden_BND.mul_(14)
    distances = distances_of(ctx.hidden_BND[0])
    density = slow_density(distances, 5)
    assert max(density) < torch.finfo(torch.float32).tiny, "float32 must not be able to hold this"
    assert min(density) > 0, "float64 must be"

    dense_KN = DPCKNN().transform(ctx).dense()[0]
    groups = slow_groups(distances, 4, 5)
    assert [set(row.nonzero()[:, 0].tolist()) for row in dense_KN] == groups
