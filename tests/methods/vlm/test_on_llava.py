"""Every method at work inside a real LlavaForConditionalGeneration, with its paper's schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from methods.backbones.llava import LlavaBackbone
from methods.base import TokenMethod
from methods.contexts import VisualLayout
from methods.registry import build
from methods.schedule import OneLayer, num_held

IMAGE, PER_IMAGE, NUM_LAYERS = 49, 16, 4
ONE = VisualLayout(1, (4, 4))
CROPS = VisualLayout(3, (4, 4), "crops", (1, 2))
IDS = (
    "dart",
    "fastervlm",
    "globalcom2",
    "hiprune",
    "llava-prumerge",
    "mini-monkey-scm",
    "todre",
    "token-correlation-doc",
    "visiondrop",
    "visionzip",
    "vispruner",
    "vtc-cls",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with attention far from uniform, saved to disk."""
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=5,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        initializer_factor=3.0,
    )
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=IMAGE)
    path = tmp_path_factory.mktemp("llava")
    LlavaForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def backbone(folder: Path) -> LlavaBackbone:
    return LlavaBackbone.load(str(folder), None, torch.float32)


@pytest.fixture(scope="module")
def library(folder: Path) -> LlavaForConditionalGeneration:
    """The library's own model, which shows its attention."""
    return LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()


def example(layout: VisualLayout) -> tuple[Tensor, VisualLayout, Tensor]:
    draw = torch.Generator().manual_seed(3)
    pixels = torch.randn(2, layout.num_images, 3, 16, 16, generator=draw)
    words = torch.randint(0, IMAGE, (2, 7), generator=draw)
    visual = torch.full((2, layout.num_tokens), IMAGE)
    return pixels, layout, torch.cat([words[:, :2], visual, words[:, 2:]], 1)


def last_logits(backbone: LlavaBackbone, layout: VisualLayout) -> Tensor:
    pixels, _, prompt = example(layout)
    return backbone.continuation_logits(pixels, layout, prompt, prompt[:, :0])


@pytest.mark.parametrize("layout", [ONE, CROPS], ids=["one-image", "crops"])
@pytest.mark.parametrize("method_id", IDS)
def test_methods_meet_the_budget_of_their_papers_schedule(
    backbone: LlavaBackbone, method_id: str, layout: VisualLayout
) -> None:
    method = build(method_id, {})
    with backbone.compressed(method, method.home, 0.25, 0) as compression:
        logits = last_logits(backbone, layout)
    held = method.home.held(0.25, NUM_LAYERS)
    counts = {layer: w.num_out for layer, w in compression.transforms["vlm"].items()}
    assert counts == {
        layer: num_held(fraction, layout.num_tokens)
        for layer, fraction in enumerate(held)
        if fraction < (held[layer - 1] if layer else 1)
    }
    assert logits.isfinite().all()
    assert not torch.allclose(logits, last_logits(backbone, layout))


@torch.no_grad()
def test_class_attention_is_the_librarys(
    backbone: LlavaBackbone, library: LlavaForConditionalGeneration
) -> None:
    pixels, _, _ = example(CROPS)
    seen = library.model.vision_tower(pixels.flatten(0, 1), output_attentions=True)
    attention_BIP = seen.attentions[-2][:, :, 0, 1:].mean(1).view(2, 3, PER_IMAGE)
    with backbone.compressed(build("fastervlm", {}), OneLayer(layer=0), 0.25, 0) as compression:
        last_logits(backbone, CROPS)
    kept_BK = compression.transforms["vlm"][0].dense().argmax(2)
    for row in range(2):
        best = attention_BIP[row].topk(4).indices + PER_IMAGE * torch.arange(3)[:, None]
        assert kept_BK[row].tolist() == sorted(best.flatten().tolist())


@torch.no_grad()
def test_the_texts_attention_is_the_librarys(
    backbone: LlavaBackbone, library: LlavaForConditionalGeneration
) -> None:
    pixels, _, prompt = example(ONE)
    out = library(input_ids=prompt, pixel_values=pixels.flatten(0, 1), output_attentions=True)
    visual = slice(2, 2 + PER_IMAGE)
    read_BN = out.attentions[1][:, :, 2 + PER_IMAGE :, visual].mean(1).sum(1)
    scm = build("mini-monkey-scm", {})
    assert isinstance(scm, TokenMethod)
    with backbone.compressed(scm, scm.home, 0.25, 0) as compression:
        last_logits(backbone, ONE)
    kept_BK = compression.transforms["vlm"][2].dense().argmax(2)
    assert kept_BK.tolist() == read_BN.topk(4).indices.sort(1).values.tolist()
