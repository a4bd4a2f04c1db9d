"""A Hugging Face CLIP gives the library's embeddings; only its vision tower is compressed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CLIPModel

from methods import registry
from methods.backbones.base import VacuousCompressionError
from methods.backbones.clip import CLIPBackbone
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from tests.methods.backbones import towers

IDS = torch.randint(2, 39, (3, 9), generator=torch.Generator().manual_seed(2))
IDS[:, -1] = 39


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return towers.saved(towers.clip(), tmp_path_factory.mktemp("clip"))


@pytest.fixture
def backbone(folder: str) -> CLIPBackbone:
    return CLIPBackbone.load(folder, None, torch.float32)


@pytest.fixture(scope="module")
def library(folder: str) -> Any:
    return CLIPModel.from_pretrained(folder).eval()


@torch.no_grad()
def test_embeddings_are_the_librarys(backbone: CLIPBackbone, library: Any) -> None:
    images, texts = backbone.image_embeddings(towers.pixels()), backbone.text_embeddings(IDS)
    expected = library(input_ids=IDS, pixel_values=towers.pixels())
    torch.testing.assert_close(images, expected.image_embeds, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(texts, expected.text_embeds, atol=1e-6, rtol=1e-6)
    logits = images @ texts.T * backbone.logit_scale
    torch.testing.assert_close(logits, expected.logits_per_image, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_features_are_the_librarys_bit_for_bit(backbone: CLIPBackbone, library: Any) -> None:
    ours = backbone.model.get_image_features(towers.pixels()).pooler_output
    assert torch.equal(ours, library.get_image_features(towers.pixels()).pooler_output)
    ours = backbone.model.get_text_features(IDS).pooler_output
    assert torch.equal(ours, library.get_text_features(IDS).pooler_output)


def test_texts_may_be_padded(backbone: CLIPBackbone) -> None:
    padded = torch.cat([IDS, torch.full((3, 2), 1)], dim=1)
    mask = (padded != 1).long()
    torch.testing.assert_close(
        backbone.text_embeddings(padded, mask), backbone.text_embeddings(IDS), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("method_id", towers.VISION)
def test_keep_ratio_one_is_exactly_the_baseline(backbone: CLIPBackbone, method_id: str) -> None:
    expected = backbone.image_embeddings(towers.pixels())
    with backbone.compressed(registry.build(method_id, {}), Progressive(), 1.0, seed=0) as record:
        assert torch.equal(backbone.image_embeddings(towers.pixels()), expected)
    assert record.tokens_per_layer == [towers.NUM_PATCHES + 1] * towers.NUM_LAYERS
    assert not record.transforms["vision"]


@pytest.mark.parametrize("method_id", towers.REDUCING)
def test_layers_see_exactly_the_scheduled_tokens(backbone: CLIPBackbone, method_id: str) -> None:
    with backbone.compressed(registry.build(method_id, {}), Progressive(), 0.3, seed=0) as record:
        embeddings = backbone.image_embeddings(towers.pixels())
    held = [num_held(s, towers.NUM_PATCHES) for s in Progressive().held(0.3, towers.NUM_LAYERS)]
    assert record.tokens_per_layer == [n + 1 for n in [towers.NUM_PATCHES, *held[:-1]]]
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def test_the_text_tower_is_not_compressed(backbone: CLIPBackbone) -> None:
    images, texts = backbone.image_embeddings(towers.pixels()), backbone.text_embeddings(IDS)
    with backbone.compressed(registry.build("tome", {}), Uniform(), 0.3, seed=0) as record:
        assert torch.equal(backbone.text_embeddings(IDS), texts)
        assert not torch.equal(backbone.image_embeddings(towers.pixels()), images)
    assert len(record.tokens_per_layer) == towers.NUM_LAYERS


def test_compression_that_nothing_reads_is_an_error(backbone: CLIPBackbone) -> None:
    """After the last layer's attention only the class token is read."""
    schedule = OneLayer(layer=towers.NUM_LAYERS - 1)
    with (
        pytest.raises(VacuousCompressionError),
        backbone.compressed(registry.build("random", {}), schedule, 0.5, seed=0),
    ):
        backbone.image_embeddings(towers.pixels())


def test_embeddings_that_are_not_finite_are_an_error(backbone: CLIPBackbone) -> None:
    pixels = towers.pixels()
    pixels[0, 0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="image embeddings"):
        backbone.image_embeddings(pixels)


def test_layers_are_read_from_the_config(backbone: CLIPBackbone) -> None:
    assert backbone.num_layers == towers.NUM_LAYERS
    assert CLIPBackbone.layers_in(backbone.model.config.to_dict()) == towers.NUM_LAYERS
    assert CLIPBackbone.layers_in({"architectures": ["CLIPModel"]}) == 12
