"""A Hugging Face ViT is compressed where the papers cut, and is itself again afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ViTForImageClassification

from methods import registry
from methods.backbones.base import VacuousCompressionError
from methods.backbones.vit import ViTBackbone
from methods.base import TokenMethod
from methods.contexts import VisionContext
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from methods.transform import TokenTransform
from tests.models import save_vit

NUM_PATCHES = 36
SCHEDULES = [Uniform(), OneLayer(layer=1), Progressive()]
VISION = [e.id for e in registry.entries().values() if "vision" in e.places]
REDUCING = [
    m for m in VISION if m != "identity" and issubclass(registry.entry(m).method, TokenMethod)
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vit(
        tmp_path_factory.mktemp("vit"),
        image_size=24,
        patch_size=4,
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=4,
        intermediate_size=64,
        num_labels=5,
        initializer_range=0.3,
    )


@pytest.fixture
def backbone(model_dir: Path) -> ViTBackbone:
    return ViTBackbone.load(str(model_dir), None, torch.float32)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def test_an_opened_model_is_the_hugging_face_model(
    backbone: ViTBackbone, model_dir: Path, pixels: torch.Tensor
) -> None:
    with torch.no_grad():
        expected = ViTForImageClassification.from_pretrained(model_dir).eval()(pixels).logits
    assert torch.equal(backbone.logits(pixels), expected)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.label)
@pytest.mark.parametrize("method_id", VISION)
def test_keep_ratio_one_is_exactly_the_baseline(
    backbone: ViTBackbone, pixels: torch.Tensor, method_id: str, schedule: Uniform
) -> None:
    expected = backbone.logits(pixels)
    with backbone.compressed(registry.build(method_id, {}), schedule, 1.0, seed=0) as record:
        assert (backbone.logits(pixels) - expected).abs().max() == 0.0
    assert record.tokens_per_layer == [NUM_PATCHES + 1] * 4
    assert not record.transforms["vision"]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.label)
@pytest.mark.parametrize("method_id", REDUCING)
def test_layers_see_exactly_the_scheduled_tokens_and_no_trace_is_left(
    backbone: ViTBackbone, pixels: torch.Tensor, method_id: str, schedule: Uniform
) -> None:
    before = backbone.logits(pixels)
    with backbone.compressed(registry.build(method_id, {}), schedule, 0.3, seed=0) as record:
        inside = backbone.logits(pixels)
    held = [num_held(share, NUM_PATCHES) for share in schedule.held(0.3, 4)]
    assert record.tokens_per_layer == [n + 1 for n in [NUM_PATCHES, *held[:-1]]]
    assert not torch.equal(inside, before)
    assert torch.equal(backbone.logits(pixels), before)
    assert not any("forward" in vars(layer) for layer in backbone.model.vit.layers)


def test_the_block_is_left_clean_after_an_error(
    backbone: ViTBackbone, pixels: torch.Tensor
) -> None:
    before = backbone.logits(pixels)
    with (
        pytest.raises(KeyError),
        backbone.compressed(registry.build("random", {}), Uniform(), 0.5, seed=0),
    ):
        raise KeyError
    assert torch.equal(backbone.logits(pixels), before)


def test_randomness_repeats_with_the_seed_and_differs_between_batches(
    backbone: ViTBackbone, pixels: torch.Tensor
) -> None:
    def twice(seed: int) -> list[torch.Tensor]:
        with backbone.compressed(registry.build("random", {}), Uniform(), 0.3, seed=seed):
            return [backbone.logits(pixels), backbone.logits(pixels)]

    first, second = twice(0), twice(0)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(*first)
    assert not torch.equal(first[0], twice(1)[0])


class MergeTwins(TokenMethod[VisionContext]):
    """Merges the last token into the first; the test makes the two identical."""

    proportional_attention = True

    def transform(self, ctx: VisionContext) -> TokenTransform:
        assert ctx.num_keep == ctx.num_in - 1
        rows = torch.arange(ctx.num_in).remainder(ctx.num_keep).expand(ctx.batch, -1)
        return TokenTransform.merge(rows, ctx.sizes_BN, ctx.num_keep)


def test_merging_identical_tokens_with_proportional_attention_changes_nothing(
    backbone: ViTBackbone, pixels: torch.Tensor
) -> None:
    """ToMe's argument for eq. 1: a token of size 2 must act as two equal tokens."""
    with torch.no_grad():
        positions = backbone.model.vit.embeddings.position_embeddings
        positions[:, NUM_PATCHES] = positions[:, 1]
    pixels[:, :, 20:, 20:] = pixels[:, :, :4, :4]
    expected = backbone.logits(pixels)
    keep_ratio = (NUM_PATCHES - 1) / NUM_PATCHES
    with backbone.compressed(MergeTwins(), OneLayer(layer=1), keep_ratio, seed=0):
        assert torch.allclose(backbone.logits(pixels), expected, atol=1e-5)


class PromiseOnly(TokenMethod[VisionContext]):
    """Returns everything whatever is asked."""

    def transform(self, ctx: VisionContext) -> TokenTransform:
        return TokenTransform.identity(ctx.batch, ctx.num_in)


def test_compression_that_does_not_happen_is_an_error(
    backbone: ViTBackbone, pixels: torch.Tensor
) -> None:
    with (
        pytest.raises(VacuousCompressionError, match="forward passes"),
        backbone.compressed(PromiseOnly(), Uniform(), 0.5, seed=0),
    ):
        backbone.logits(pixels)


def test_compression_that_nothing_reads_is_an_error(
    backbone: ViTBackbone, pixels: torch.Tensor
) -> None:
    """After the last layer's attention only the class token is read."""
    with (
        pytest.raises(VacuousCompressionError),
        backbone.compressed(registry.build("random", {}), OneLayer(layer=3), 0.5, seed=0),
    ):
        backbone.logits(pixels)


def test_logits_that_are_not_finite_are_an_error(
    backbone: ViTBackbone, pixels: torch.Tensor
) -> None:
    pixels[0, 0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError):
        backbone.logits(pixels)
