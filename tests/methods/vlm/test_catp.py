"""CATP: both stages in plain Python, and what the context of several images changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from methods.contexts import VisualContext, VisualLayout
from methods.vlm.catp import CATP
from tests.methods.vlm import plain


def similarity(a: Tensor, b: Tensor) -> float:
    return (plain.cosine(a, b) + 1) / 2


def slow_stage_one(
    ctx: VisualContext, example: int, tokens: list[int], text: Tensor, budget: int, weight: float
) -> list[int]:
    hidden = ctx.hidden_BND[example].double()

    def objective(chosen: list[int]) -> float:
        if not chosen:
            return 0.0
        diversity = sum(max(similarity(hidden[y], hidden[x]) for y in chosen) for x in tokens)
        return diversity + weight * sum(similarity(hidden[y], text.double()) for y in chosen)

    chosen: list[int] = []
    for _ in range(budget):
        rest = [token for token in tokens if token not in chosen]
        chosen.append(max(rest, key=lambda token: objective([*chosen, token])))
    return chosen


def with_paired_text(ctx: VisualContext) -> VisualContext:
    """Three images with one word behind each but two behind the last, and one in front."""
    return replace(ctx, images_before_Q=torch.tensor([0, 1, 2, 3, 3]))


@pytest.mark.parametrize("num_keep", [3, 8, 20])
@pytest.mark.parametrize("weight", [0.0, 0.7, 5.0])
def test_stage_one_is_the_greedy_maximum_of_diversity_and_alignment(
    num_keep: int, weight: float
) -> None:
    ctx = with_paired_text(plain.context(plain.SEVERAL, num_keep, seed=num_keep))
    w = CATP(alignment=weight).transform(ctx)
    for example in range(ctx.batch):
        words = ctx.text_BQD[example]
        texts = [words[1], words[2], words[3:].mean(0)]
        expected: list[int] = []
        for tokens, text, budget in zip(
            plain.tokens_of(ctx, example), texts, plain.even(ctx, example), strict=True
        ):
            expected += slow_stage_one(ctx, example, tokens, text, budget, weight)
        assert plain.kept(w, example) == sorted(expected)


def test_stage_one_manages_with_tokens_that_were_removed_before() -> None:
    ctx = with_paired_text(plain.context(plain.SEVERAL, 9, lost=12))
    w = CATP().transform(ctx)
    for example in range(ctx.batch):
        kept = set(plain.kept(w, example))
        counts = [len(kept & set(tokens)) for tokens in plain.tokens_of(ctx, example)]
        assert counts == plain.even(ctx, example)


def test_an_image_is_compared_with_its_own_text() -> None:
    """Alignment picks in each image the token that its own text describes."""
    ctx = with_paired_text(plain.context(plain.SEVERAL, 3))
    for image, (token, words) in enumerate([(2, [1]), (7, [2]), (11, [3, 4])]):
        ctx.hidden_BND[:, 12 * image + token] = ctx.text_BQD[:, words].mean(1)
    kept = CATP(alignment=1000.0).transform(ctx)
    assert plain.kept(kept, 0) == plain.kept(kept, 1) == [2, 12 + 7, 24 + 11]


def test_without_places_of_the_text_only_the_query_is_told_apart() -> None:
    ctx = plain.context(plain.SEVERAL, 9)
    told = replace(ctx, images_before_Q=torch.tensor([2, 2, 3, 3, 3]))
    assert CATP().transform(ctx).dense().equal(CATP().transform(told).dense())


def head_average(ctx: VisualContext, example: int) -> list[float]:
    assert ctx.attention_BHTN is not None
    return ctx.attention_BHTN[example, :, -1].double().mean(0).tolist()


def slow_stage_two(
    ctx: VisualContext, example: int, before: list[float], weight: float, budgets: tuple[int, int]
) -> list[int]:
    hidden = ctx.hidden_BND[example].double()
    question = ctx.text_BQD[example, ctx.question_Q].double()
    context, query = list(range(24)), list(range(24, 36))
    focus = torch.cat([hidden[query], question]).mean(0)
    growth = [
        max(0.0, now - old) for now, old in zip(head_average(ctx, example), before, strict=True)
    ]
    scores = [
        grown + weight * plain.cosine(hidden[token], focus) for token, grown in enumerate(growth)
    ]
    kept = plain.best(scores, context, budgets[0])
    distilled = hidden[kept].mean(0)
    relevant = [plain.cosine(token, distilled) for token in hidden]
    return sorted(kept + plain.best(relevant, query, budgets[1]))


@pytest.mark.parametrize("weight", [0.0, 0.6])
def test_stage_two_prunes_the_context_and_then_the_query_image(weight: float) -> None:
    method, ctx = CATP(relevance=weight), plain.context(plain.SEVERAL, 12, layer=2)
    w = method.transform(ctx)
    for example in range(ctx.batch):
        expected = slow_stage_two(ctx, example, [0.0] * 36, weight, (8, 4))
        assert plain.kept(w, example) == expected


def test_what_counts_is_the_growth_of_attention_since_the_cut_before() -> None:
    first = plain.context(plain.SEVERAL, 35, layer=2)
    second = replace(plain.context(plain.SEVERAL, 12, layer=3, seed=2), memory=first.memory)
    method = CATP(relevance=0.0)
    method.transform(first)
    w = method.transform(second)
    for example in range(second.batch):
        expected = slow_stage_two(second, example, head_average(first, example), 0.0, (8, 4))
        assert plain.kept(w, example) == expected


@pytest.mark.parametrize("layout", [plain.SINGLE, plain.CROPS])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_single_picture_is_pruned_too(layout: VisualLayout, layer: int) -> None:
    ctx = plain.context(layout, 7, layer=layer)
    assert CATP().transform(ctx).num_out == 7


def test_home_makes_its_main_cuts_at_the_doorstep_and_after_layer_six() -> None:
    """At the paper's main setting, 22.2%, stage 1 removes half of what is removed."""
    held = CATP.home.held(0.222, 32)
    assert held[0] == pytest.approx(0.611, abs=0.01)
    assert held[5] == held[0]
    assert held[6] > 0.5
    assert held[7] == held[-1] == pytest.approx(0.222)
