"""Tiny random models with a vision tower, one builder per family."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTForMaskedImageModeling,
)

from methods import registry
from methods.base import TokenMethod

SIDE = 24
GRID = (6, 6)
NUM_PATCHES = 36
NUM_LAYERS = 4
VISION = [e.id for e in registry.entries().values() if "vision" in e.places and e.stands_alone]
REDUCING = [
    m for m in VISION if m != "identity" and issubclass(registry.entry(m).method, TokenMethod)
]

_TOWER = {
    "image_size": SIDE,
    "patch_size": 4,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": NUM_LAYERS,
    "intermediate_size": 64,
}
_TEXT = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 12,
    "bos_token_id": 0,
    "eos_token_id": 39,
    "pad_token_id": 1,
}


def vit() -> PreTrainedModel:
    """A classifier of five classes."""
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(**_TOWER, num_labels=5, initializer_range=0.3))


def dense() -> PreTrainedModel:
    """A painter of images of the same size."""
    torch.manual_seed(0)
    config = ViTConfig(**_TOWER, encoder_stride=4, initializer_range=0.3)
    return ViTForMaskedImageModeling(config)


def clip() -> PreTrainedModel:
    """A dual encoder; weights are made larger than its initialiser does, so that tokens differ."""
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=_TOWER, projection_dim=16))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embedding" not in name:
                weight.normal_(0, 0.3)
    return model


def saved(model: PreTrainedModel, folder: Path) -> str:
    """Where it was saved to."""
    model.save_pretrained(folder)
    return str(folder)


def pixels(batch: int = 3) -> torch.Tensor:
    """Random images, [batch, 3, SIDE, SIDE]."""
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
