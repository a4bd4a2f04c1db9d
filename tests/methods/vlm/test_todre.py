"""ToDRE: both greedy selections in plain Python, what they buy, and the second stage."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from methods.contexts import VisualContext, VisualLayout
from methods.controls.random import Random
from methods.vlm.todre import ToDRE
from tests.methods.vlm import plain

Selection = Literal["max-sum", "k-center"]


def combined(values: list[float], selection: Selection) -> float:
    return math.fsum(values) if selection == "max-sum" else max(values)


def slow_selection(ctx: VisualContext, example: int, selection: Selection) -> list[int]:
    attention = plain.class_attention(ctx, example, -1)
    images, everyone = plain.tokens_of(ctx, example), list(range(ctx.num_in))
    candidates = images[0] if ctx.layout.kind == "crops" else everyone
    chosen = plain.best(attention, candidates, 1)
    tokens = ctx.hidden_BND[example].double()
    while len(chosen) < ctx.num_keep:
        rest = [token for token in everyone if token not in chosen]
        near = {
            token: combined([plain.cosine(tokens[token], tokens[c]) for c in chosen], selection)
            for token in rest
        }
        chosen.append(min(rest, key=lambda token: near[token]))
    return sorted(chosen)


@pytest.mark.parametrize("layout", plain.LAYOUTS)
@pytest.mark.parametrize("num_keep", [1, 2, 12])
@pytest.mark.parametrize("selection", ["max-sum", "k-center"])
def test_stage_one_is_the_papers_greedy_search(
    layout: VisualLayout, num_keep: int, selection: Selection
) -> None:
    ctx = plain.context(layout, num_keep, seed=num_keep)
    w = ToDRE(selection=selection).transform(ctx)
    for example in range(ctx.batch):
        assert plain.kept(w, example) == slow_selection(ctx, example, selection)


def similarities(ctx: VisualContext, w_kept: list[int], example: int) -> torch.Tensor:
    directions_ND = torch.nn.functional.normalize(ctx.hidden_BND[example], dim=-1)
    return directions_ND[w_kept] @ directions_ND.T


@pytest.mark.parametrize("seed", range(5))
def test_max_sum_keeps_less_similar_tokens_than_chance(seed: int) -> None:
    ctx = plain.context(plain.SINGLE, 8, seed=seed)
    diverse, random = ToDRE().transform(ctx), Random().transform(ctx)
    for example in range(ctx.batch):
        total = [
            float(similarities(ctx, tokens, example)[:, tokens].sum())
            for tokens in (plain.kept(diverse, example), plain.kept(random, example))
        ]
        assert total[0] < total[1]


def test_k_center_leaves_no_kind_of_token_uncovered() -> None:
    ctx = plain.context(plain.SINGLE, 6)
    ctx.hidden_BND.copy_(torch.eye(8)[torch.arange(24) % 6])
    w = ToDRE(selection="k-center").transform(ctx)
    for example in range(ctx.batch):
        assert sorted(token % 6 for token in plain.kept(w, example)) == list(range(6))


def test_stage_two_keeps_what_the_text_attends_to() -> None:
    ctx = plain.context(plain.SINGLE, 6, layer=3)
    assert ctx.attention_BHTN is not None
    assert ctx.visual_T is not None
    w = ToDRE().transform(ctx)
    rows = [row for row, visual in enumerate(ctx.visual_T.tolist()) if not visual]
    for example in range(ctx.batch):
        read = [
            sum(float(ctx.attention_BHTN[example, :, row, token].mean()) for row in rows)
            for token in range(ctx.num_in)
        ]
        assert plain.kept(w, example) == sorted(plain.best(read, list(range(24)), 6))
