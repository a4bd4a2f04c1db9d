"""Expedit's clustering and reconstruction against plain Python, and what the paper claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from methods.contexts import VisionContext
from methods.vision.expedit_token_clustering import ExpeditTokenClustering, coarse_cells
from tests.methods.contexts import Shape, vision_context

CPU = torch.device("cpu")


def grid_context(grid: tuple[int, int], num_keep: int, seed: int = 0) -> VisionContext:
    ctx = vision_context(Shape(num_in=grid[0] * grid[1], num_keep=num_keep, seed=seed))
    return replace(ctx, grid=grid)


def squared(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().sum())


def slow_centres(
    x: Tensor, grid: tuple[int, int], coarse: tuple[int, int], method: ExpeditTokenClustering
) -> Tensor:
    """Centres after all rounds, for a budget that is a coarse grid, all sizes 1."""
    (rows, columns), (h, w) = grid, coarse
    image = x.T.view(1, -1, rows, columns)
    centres = list(adaptive_avg_pool2d(image, coarse)[0].flatten(1).T)
    own = [(y * h // rows, z * w // columns) for y in range(rows) for z in range(columns)]
    cells = [(i, j) for i in range(h) for j in range(w)]
    for _ in range(method.rounds):
        share = [[0.0] * len(x) for _ in cells]
        for n, (y, z) in enumerate(own):
            near = [
                k
                for k, (i, j) in enumerate(cells)
                if abs(i - y) <= method.reach and abs(j - z) <= method.reach
            ]
            weights = [math.exp(-method.tau * squared(x[n], centres[k])) for k in near]
            for k, weight in zip(near, weights, strict=True):
                share[k][n] = weight / sum(weights)
        for k in range(len(cells)):
            if sum(share[k]) > 1e-16:
                total = sum(share[k])
                centres[k] = torch.stack([s * v for s, v in zip(share[k], x, strict=True)]).sum(0)
                centres[k] = centres[k] / total
    return torch.stack(centres)


@pytest.mark.parametrize(
    ("grid", "coarse"), [((6, 6), (3, 3)), ((6, 6), (4, 4)), ((5, 8), (2, 4)), ((7, 7), (5, 5))]
)
@pytest.mark.parametrize("reach", [1, 2])
def test_centres_are_the_papers(grid: tuple[int, int], coarse: tuple[int, int], reach: int) -> None:
    ctx = grid_context(grid, coarse[0] * coarse[1])
    ctx = replace(ctx, sizes_BN=torch.ones_like(ctx.sizes_BN))
    method = ExpeditTokenClustering(reach=reach, rounds=3, tau=0.1)
    centres_BKD = method.transform(ctx)(ctx.hidden_BND)
    for example in range(ctx.batch):
        expected = slow_centres(ctx.hidden_BND[example], grid, coarse, method)
        torch.testing.assert_close(centres_BKD[example], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("grid", "num"), [((6, 6), 9), ((5, 8), 10), ((12, 12), 36), ((4, 4), 1)])
def test_the_start_is_adaptive_pooling(grid: tuple[int, int], num: int) -> None:
    cells = coarse_cells(grid, num, CPU)
    side = round((num * grid[0] / grid[1]) ** 0.5)
    image = torch.arange(grid[0] * grid[1]).float()
    pooled = adaptive_avg_pool2d(image.view(1, 1, *grid), (side, num // side)).flatten()
    inside = cells.inside_KN.float()
    torch.testing.assert_close(inside / inside.sum(1, keepdim=True) @ image, pooled)


@pytest.mark.parametrize("grid", [(1, 7), (7, 1), (3, 5), (6, 6), (2, 11)])
def test_any_budget_has_as_many_cells_and_they_cover_the_grid(grid: tuple[int, int]) -> None:
    for num in range(1, grid[0] * grid[1]):
        cells = coarse_cells(grid, num, CPU)
        assert cells.inside_KN.shape[0] == num
        assert cells.inside_KN.any(1).all()
        assert cells.inside_KN.any(0).all()
        assert cells.near(0).any(0).all(), "every patch has a cell of its own"


def test_clusters_are_local() -> None:
    """No patch is mixed into a centre more than ``reach`` cells away, however similar."""
    ctx = grid_context((12, 12), 36)
    ctx = replace(ctx, hidden_BND=torch.zeros_like(ctx.hidden_BND))
    dense_BKN = ExpeditTokenClustering(reach=1).transform(ctx).dense()
    top_left = dense_BKN[0, 0].view(12, 12)
    assert (top_left[:4, :4] > 0).all()
    assert top_left[:4, :4].sum() == pytest.approx(1)


def test_centres_move_to_what_is_there() -> None:
    """Two flat regions whose border is not on the coarse grid: few centres mix the two."""
    grid, border = (9, 9), 4
    ctx = grid_context(grid, 9)
    ctx = replace(ctx, sizes_BN=torch.ones_like(ctx.sizes_BN))
    right = (torch.arange(81) % 9 >= border).float()
    hidden_BND = torch.zeros_like(ctx.hidden_BND)
    hidden_BND[..., 0] = 6 * right
    ctx = replace(ctx, hidden_BND=hidden_BND)

    def mixed(rounds: int) -> float:
        x = ExpeditTokenClustering(rounds=rounds, reach=1).transform(ctx)(hidden_BND)[0, :, 0]
        return float(torch.minimum(x, 6 - x).abs().sum())

    start = coarse_cells(grid, 9, CPU).inside_KN.float()
    pooled = start / start.sum(1, keepdim=True) @ hidden_BND[0, :, 0]
    assert mixed(rounds=5) < 0.01 * float(torch.minimum(pooled, 6 - pooled).sum())


def test_patches_are_rebuilt_from_their_nearest_centres() -> None:
    ctx = grid_context((6, 6), 7)
    method = ExpeditTokenClustering(num_neighbors=3, tau_rebuilt=0.3)
    transform = method.transform(ctx)
    weights_BNK = method.unmerge_weights(ctx, transform)
    centres_BKD = transform(ctx.hidden_BND)
    for n in range(36):
        distances = [squared(ctx.hidden_BND[0, n], centre) for centre in centres_BKD[0]]
        nearest = sorted(range(7), key=lambda k: distances[k])[:3]
        total = sum(math.exp(-0.3 * distances[k]) for k in nearest)
        for k in range(7):
            expected = math.exp(-0.3 * distances[k]) / total if k in nearest else 0.0
            assert float(weights_BNK[0, n, k]) == pytest.approx(expected, abs=1e-6)


def test_reconstruction_is_closer_than_spreading_by_w() -> None:
    """The paper's reason for it: on an image of smooth regions the details come back."""
    ctx = grid_context((12, 12), 36)
    y, x = torch.meshgrid(torch.linspace(0, 6, 12), torch.linspace(0, 6, 12), indexing="ij")
    waves = [torch.sin(y + x), torch.cos(y), torch.sin(2 * x), torch.cos(x - y)]
    hidden_BND = 3 * torch.stack(waves, -1).view(1, 144, 4).expand(2, -1, -1)
    ctx = replace(ctx, hidden_BND=hidden_BND, sizes_BN=torch.ones(2, 144))
    method = ExpeditTokenClustering(tau_rebuilt=1.0)
    transform = method.transform(ctx)
    centres_BKD = transform(hidden_BND)
    rebuilt = method.unmerge_weights(ctx, transform) @ centres_BKD
    spread = transform.unmerge(centres_BKD)
    assert (rebuilt - hidden_BND).norm() < (spread - hidden_BND).norm()
