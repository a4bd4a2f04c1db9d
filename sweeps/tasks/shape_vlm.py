"""shape-vlm: what a question about images costs in a vision-language model.

Images are noise of the size that the model takes, the text is random tokens of its vocabulary, and
no answer is judged, so that the weights may be random: measure costs, not quality. Images stand in
front, text follows.

Shapes: B examples of I images, C colour channels, H x W pixels, T prompt tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.backbones.llava import LlavaBackbone
from methods.backbones.vision_tower import grid_of
from methods.contexts import VisualLayout
from methods.places import Place
from sweeps.tasks._shape import ShapeTask, image_shape, num_patches, pixels, tokens, too_long


@dataclass(frozen=True)
class VisualPromptsBatch:
    """Images and text of one forward pass."""

    pixel_values: Tensor  # float32 [B, I, C, H, W]
    prompt: Tensor  # int64 [B, T], images in front

    def __len__(self) -> int:
        return len(self.prompt)


class ShapeVLM(ShapeTask[LlavaBackbone, VisualPromptsBatch]):
    """Images of noise and a text of random tokens."""

    id: ClassVar[str] = "shape-vlm"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "vlm"

    images: int = Field(default=1, ge=1, description="Images of an example.")
    text_length: int = Field(default=64, ge=2, description="Tokens of text behind them.")
    new_tokens: int = Field(default=4, ge=1, description="Tokens of the answer.")

    @property
    def answer_length(self) -> int:
        """Tokens generated after the prompt."""
        return self.new_tokens

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Visual tokens of all images together."""
        return self.images * num_patches(config["vision_config"])

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The model needs room for images, text and answer."""
        length = self.num_tokens(config) + self.text_length + self.new_tokens
        return too_long(self.id, length, config.get("text_config", {}))

    def drawn(self, config: Any) -> VisualPromptsBatch:
        """Images of the model's size, behind them tokens of its vocabulary."""
        vision, placeholder = config.vision_config, config.image_token_index
        num_visual = self._layout(vision).num_tokens
        shape = (self.batch_size, self.images, *image_shape(vision))
        end = min(config.text_config.vocab_size, placeholder)
        text = tokens((self.batch_size, self.text_length), end)
        visual = torch.full((self.batch_size, num_visual), placeholder)
        return VisualPromptsBatch(pixels(shape), torch.cat([visual, text], dim=1))

    def answer(self, backbone: LlavaBackbone, batch: VisualPromptsBatch) -> Tensor:
        """Tokens generated, [B, new_tokens]."""
        layout = self._layout(backbone.model.config.vision_config)
        turns = backbone.answer(batch.pixel_values, layout, batch.prompt, [], self.new_tokens)
        return turns[:, 0]

    def _layout(self, vision_config: Any) -> VisualLayout:
        kind: Literal["single", "several"] = "single" if self.images == 1 else "several"
        return VisualLayout(self.images, grid_of(vision_config), kind)
