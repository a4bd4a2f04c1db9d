"""The relevance oracle keeps what it is told, makes no offer, and knows what random does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from methods.backbones.vit import ViTBackbone
from methods.base import InfeasibleError
from methods.composition.pairing import Pairing
from methods.contexts import FeatureContext
from methods.controls.random import Random
from methods.places import Place
from methods.schedule import Progressive
from methods.vision.relevance_oracle import RelevanceOracle
from sweeps import reference
from sweeps.tasks.digits import Digits
from tests.methods.contexts import BUILDERS, Shape

DIGITS = Path(reference.__file__).parent / "vit_digits" / "seed-0"
places = pytest.mark.parametrize("place", RelevanceOracle.places)


@places
def test_the_most_relevant_tokens_stay(place: Place) -> None:
    ctx = BUILDERS[place](Shape(num_in=20, num_keep=6))
    assert isinstance(ctx, FeatureContext)
    assert ctx.future_BN is not None
    kept_BK = RelevanceOracle().transform(ctx).cols
    for kept, relevance in zip(kept_BK.tolist(), ctx.future_BN.tolist(), strict=True):
        assert kept == sorted(sorted(range(20), key=lambda i: -relevance[i])[:6])


@places
def test_where_nobody_knows_the_answer_it_says_so(place: Place) -> None:
    ctx = BUILDERS[place](Shape(num_in=20, num_keep=6))
    assert isinstance(ctx, FeatureContext)
    with pytest.raises(InfeasibleError, match="what the model answers"):
        RelevanceOracle().transform(replace(ctx, future_BN=None))


def test_its_savings_are_no_offer_alone_or_as_a_score() -> None:
    assert {"tokens", "flops", "kv"} <= RelevanceOracle().simulated
    assert Pairing(score="relevance-oracle").simulated == RelevanceOracle().simulated


def test_a_sixteenth_of_the_patches_answers_as_all_of_them_do() -> None:
    task, backbone = Digits(num_examples=32), ViTBackbone.load(str(DIGITS), None, torch.float32)

    def answers(method: RelevanceOracle | Random, keep_ratio: float) -> torch.Tensor:
        with backbone.compressed(method, Progressive(), keep_ratio, 0):
            logits = [backbone.logits(batch.pixel_values) for batch in task.batches()]
        return torch.cat(logits).argmax(-1)

    whole = answers(RelevanceOracle(), 1.0)
    assert (answers(RelevanceOracle(), 1 / 16) == whole).float().mean() > 0.95
    assert (answers(Random(), 1 / 16) == whole).float().mean() < 0.9
