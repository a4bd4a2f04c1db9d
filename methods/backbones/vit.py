"""Vision transformers of the ``ViTForImageClassification`` family, compressed inside each block.

Shapes: B images, M tokens with the class token first, C colour channels, D channels.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.relevance import lead
from methods.backbones.vision_tower import VisionBackbone, VisionTower, grid_of, require_finite
from methods.backbones.vision_tower_block import Block


class ViTBlock(Block):
    """A ``ViTLayer`` of transformers 5.23."""

    @property
    def attention(self) -> Any:
        """Its ``ViTAttention``."""
        return self.layer.attention

    @property
    def scaling(self) -> float:
        """One over the root of a head's width."""
        return float(self.layer.attention.scaling)

    def normed(self, hidden_BMD: Tensor) -> Tensor:
        """After the first layer norm."""
        normed_BMD: Tensor = self.layer.layernorm_before(hidden_BMD)
        return normed_BMD

    def attend(self, hidden_BMD: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
        """The residual stream after attention."""
        attended_BMD, _ = self.layer.attention(self.normed(hidden_BMD), mask, **kwargs)
        out_BMD: Tensor = self.layer.dropout(attended_BMD) + hidden_BMD
        return out_BMD

    def feed_forward(self, hidden_BMD: Tensor) -> Tensor:
        """The residual stream after the MLP."""
        fed_BMD = self.layer.mlp(self.layer.layernorm_after(hidden_BMD))
        out_BMD: Tensor = self.layer.dropout(fed_BMD) + hidden_BMD
        return out_BMD


class ViTTower:
    """Where a model built around a ``ViTModel`` has its tower."""

    @classmethod
    def tower_of(cls, model: Any) -> VisionTower:
        """The blocks of ``model.vit``."""
        blocks = [ViTBlock(layer) for layer in model.vit.layers]
        return VisionTower(
            [model.vit.embeddings], blocks, grid_of(model.config), partial(cls.answer_of, model)
        )

    @classmethod
    @abstractmethod
    def answer_of(cls, model: Any, hidden_BMD: Tensor) -> Tensor:
        """What the model makes of the last block's output, one number per image, [B]."""

    @classmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of transformer blocks."""
        return int(config["num_hidden_layers"])


class ViTBackbone(ViTTower, VisionBackbone):
    """A Hugging Face ``ViTForImageClassification``."""

    architectures: ClassVar[tuple[str, ...]] = ("ViTForImageClassification",)
    model_class: ClassVar[str] = "ViTForImageClassification"

    @classmethod
    def answer_of(cls, model: Any, hidden_BMD: Tensor) -> Tensor:
        """How far the most likely class is ahead of the next."""
        return lead(model.classifier(model.vit.layernorm(hidden_BMD)[:, 0]))

    @torch.no_grad()
    def logits(self, pixels_BCHW: Tensor) -> Tensor:
        """Class logits, float [B, classes]. Raises FloatingPointError if any is not finite."""
        return require_finite(self.model(self._inputs(pixels_BCHW)).logits.float(), "logits")
