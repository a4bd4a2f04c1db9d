"""DivPrune: the greedy selection in plain Python, and the diversity it buys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from methods.controls.random import Random
from methods.registry import entry
from methods.vision.divprune import DivPrune
from tests.methods.contexts import Shape, vision_context


def slow_selection(distances: list[list[float]], num_keep: int) -> list[int]:
    everyone = range(len(distances))
    selected = [max(everyone, key=lambda i: min(distances[i][j] for j in everyone if j != i))]
    while len(selected) < num_keep:
        rest = [i for i in everyone if i not in selected]
        selected.append(max(rest, key=lambda i: min(distances[i][j] for j in selected)))
    return sorted(selected)


def cosine_distances(hidden_ND: Tensor) -> Tensor:
    return 1 - cosine_similarity(hidden_ND[:, None], hidden_ND[None], dim=-1)


@pytest.mark.parametrize(("num_in", "num_keep"), [(2, 1), (9, 1), (9, 8), (25, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_selection_is_the_papers_greedy_max_min(num_in: int, num_keep: int, seed: int) -> None:
    ctx = vision_context(Shape(num_in=num_in, num_keep=num_keep, seed=seed))
    w = DivPrune().transform(ctx)
    for example in range(ctx.batch):
        distances = cosine_distances(ctx.hidden_BND[example]).tolist()
        assert w.cols[example].tolist() == slow_selection(distances, num_keep)


@pytest.mark.parametrize("num_keep", [2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(5))
def test_the_closest_kept_pair_is_never_closer_than_in_a_random_subset(
    num_keep: int, seed: int
) -> None:
    ctx = vision_context(Shape(num_in=24, num_keep=num_keep, seed=seed, batch=4))
    diverse, random = DivPrune().transform(ctx), Random().transform(ctx)
    for example in range(ctx.batch):
        distances_NN = cosine_distances(ctx.hidden_BND[example])
        closest = [
            distances_NN[kept][:, kept].fill_diagonal_(torch.inf).min()
            for kept in (diverse.cols[example], random.cols[example])
        ]
        assert closest[0] >= closest[1]


def test_one_of_each_kind_is_kept_before_any_duplicate() -> None:
    ctx = vision_context(Shape(num_in=12, num_keep=4))
    ctx.hidden_BND.copy_(torch.eye(8)[:4].repeat(3, 1))
    kept_BKD = DivPrune().transform(ctx)(ctx.hidden_BND)
    assert (kept_BKD.sum(1)[:, :4] == 1).all()


def test_it_prunes_projected_visual_tokens_too_as_in_its_paper() -> None:
    assert entry("divprune").places == ("vision", "vlm")
