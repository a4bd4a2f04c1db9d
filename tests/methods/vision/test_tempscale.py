"""TempScale: attention sharpened by a temperature draws tokens together less, as the paper says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.vision.tempscale import TempScale
from methods.vision.tome import ToMe
from tests.methods.contexts import Shape, vision_context


def test_logits_are_divided_by_the_temperature_whatever_is_left() -> None:
    for num_now in (1, 30, 99):
        assert TempScale(temperature=0.8).attention_scale(100, num_now) == pytest.approx(1 / 0.8)
        assert ToMe().attention_scale(100, num_now) == 1.0


def test_merging_is_tomes() -> None:
    ctx = vision_context(Shape(num_in=21, num_keep=8))
    ours, tomes = TempScale(round_share=0.3).transform(ctx), ToMe(round_share=0.3).transform(ctx)
    assert torch.equal(ours.dense(), tomes.dense())
    assert TempScale.proportional_attention


def spread(tokens_BND: Tensor) -> float:
    """Distance of the tokens to their mean: everything but the DC component."""
    return float((tokens_BND - tokens_BND.mean(1, keepdim=True)).norm())


@pytest.mark.parametrize("seed", range(8))
def test_attention_with_a_temperature_below_one_is_a_weaker_low_pass_filter(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tokens_BND = torch.randn(2, 40, 16, generator=draw)
    logits_BNN = tokens_BND @ tokens_BND.mT / 16**0.5
    scale = TempScale().attention_scale(144, 40)
    plain = spread(logits_BNN.softmax(-1) @ tokens_BND)
    sharp = spread((logits_BNN * scale).softmax(-1) @ tokens_BND)
    assert plain < sharp < spread(tokens_BND)
