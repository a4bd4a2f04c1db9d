"""Dual encoders of the ``CLIPModel`` family; the vision tower is compressed, the text tower is not.

Shapes: B images or texts, M tokens of the tower with the class token first, T text tokens, C colour
channels, D channels, E channels of the shared embedding.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from methods.backbones.vision_tower import VisionBackbone, VisionTower, grid_of, require_finite
from methods.backbones.vision_tower_block import Block
from methods.backbones.vision_tower_reduction import Answer


class CLIPBlock(Block):
    """A ``CLIPEncoderLayer`` of transformers 5.23."""

    @property
    def attention(self) -> Any:
        """Its ``CLIPAttention``."""
        return self.layer.self_attn

    @property
    def scaling(self) -> float:
        """One over the root of a head's width."""
        return float(self.layer.self_attn.scale)

    def normed(self, hidden_BMD: Tensor) -> Tensor:
        """After the first layer norm."""
        normed_BMD: Tensor = self.layer.layer_norm1(hidden_BMD)
        return normed_BMD

    def attend(self, hidden_BMD: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
        """The residual stream after attention."""
        attended_BMD, _ = self.layer.self_attn(
            hidden_states=self.normed(hidden_BMD), attention_mask=mask, **kwargs
        )
        out_BMD: Tensor = hidden_BMD + attended_BMD
        return out_BMD

    def feed_forward(self, hidden_BMD: Tensor) -> Tensor:
        """The residual stream after the MLP."""
        out_BMD: Tensor = hidden_BMD + self.layer.mlp(self.layer.layer_norm2(hidden_BMD))
        return out_BMD


def clip_tower(vision_model: Any, answer: Answer | None = None) -> VisionTower:
    """The tower of a ``CLIPVisionModel``, wherever it stands, such as inside a LLaVA."""
    blocks = [CLIPBlock(layer) for layer in vision_model.encoder.layers]
    entrance = [vision_model.embeddings, vision_model.pre_layrnorm]
    return VisionTower(entrance, blocks, grid_of(vision_model.config), answer)


class CLIPBackbone(VisionBackbone):
    """A Hugging Face ``CLIPModel``."""

    architectures: ClassVar[tuple[str, ...]] = ("CLIPModel",)
    model_class: ClassVar[str] = "CLIPModel"
    depth_in: ClassVar[str | None] = "vision_config"

    @classmethod
    def tower_of(cls, model: Any) -> VisionTower:
        """The blocks of ``model.vision_model``."""
        return clip_tower(model.vision_model, partial(cls.answer_of, model))

    @classmethod
    def answer_of(cls, model: Any, hidden_BMD: Tensor) -> Tensor:
        """The image's agreement with what it is itself taken for: its embedding's length, [B]."""
        pooled_BD = model.vision_model.post_layernorm(hidden_BMD[:, 0])
        lengths_B: Tensor = model.visual_projection(pooled_BD).norm(dim=-1)
        return lengths_B

    @classmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of transformer blocks of the vision tower."""
        from transformers import CLIPVisionConfig  # its defaults; see Backbone.load

        return int(CLIPVisionConfig(**config.get("vision_config", {})).num_hidden_layers)

    @property
    def logit_scale(self) -> float:
        """Factor on cosines that training found; logits of a pair are this times their cosine."""
        return float(self.model.logit_scale.exp())

    @torch.no_grad()
    def image_embeddings(self, pixels_BCHW: Tensor) -> Tensor:
        """Embeddings of length 1, float [B, E]. Raises FloatingPointError if not finite."""
        features = self.model.get_image_features(self._inputs(pixels_BCHW)).pooler_output
        return normalize(require_finite(features.float(), "image embeddings"), dim=-1)

    @torch.no_grad()
    def text_embeddings(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Embeddings of length 1, float [B, E]; ``mask_BT`` is 0 at padding.

        Raises FloatingPointError if not finite.
        """
        mask_BT = None if mask_BT is None else mask_BT.to(self.device)
        features = self.model.get_text_features(ids_BT.to(self.device), mask_BT).pooler_output
        return normalize(require_finite(features.float(), "text embeddings"), dim=-1)
