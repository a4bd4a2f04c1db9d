"""shape-vlm: what a question about images costs in a vision-language model.

Images are noise of the size that the model takes, or of a chosen one where it takes any; the text
is random tokens of its vocabulary, and no answer is judged, so that the weights may be random:
measure costs, not quality. Images stand in front, text follows.

Data: none; pixels are drawn normally and tokens uniformly, always the same.

Shapes: B examples of I images, C colour channels, H x W pixels, T prompt tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.backbones.causal_lm import with_defaults
from methods.backbones.vision_language import VisionLanguageBackbone
from methods.contexts import VisualLayout
from methods.places import Place
from sweeps.tasks._fit import too_long
from sweeps.tasks._shape import ShapeTask, fixed_size, pixels, tokens

ANY_SIZE: Final = 672
"""Side of the images for towers that take any: 576 tokens of 28 pixels, as LLaVA-1.5 has."""


@dataclass(frozen=True)
class VisualPromptsBatch:
    """Images and text of one forward pass."""

    pixel_values: Tensor  # float32 [B, I, C, H, W]
    prompt: Tensor  # int64 [B, T], images in front

    def __len__(self) -> int:
        return len(self.prompt)


class ShapeVLM(ShapeTask[VisionLanguageBackbone, VisualPromptsBatch]):
    """Images of noise and a text of random tokens."""

    id: ClassVar[str] = "shape-vlm"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "vlm"

    images: int = Field(default=1, ge=1, description="Images of an example.")
    image_size: int | None = Field(
        default=None,
        ge=1,
        description="Side of the images in pixels, for models that take any; they get "
        f"{ANY_SIZE} by default.",
    )
    text_length: int = Field(default=64, ge=2, description="Tokens of text behind them.")
    new_tokens: int = Field(default=4, ge=1, description="Tokens of the answer.")

    @property
    def answer_length(self) -> int:
        """Tokens generated after the prompt."""
        return self.new_tokens

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Visual tokens of all images together."""
        return self._layout(_tower(config)).num_tokens

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The model needs room for images, text and answer, and the images a size that it takes."""
        vision = _tower(config)
        size, side = fixed_size(vision), _token_side(vision)
        if size is not None and self.image_size not in (None, *size):
            return f"{self.id}: image_size {self.image_size}, but this model takes {size[0]} only"
        if size is None and self._size(vision)[0] % side:
            return (
                f"{self.id}: image_size {self.image_size} is no multiple of {side}, a token's side"
            )
        length = self.num_tokens(config) + self.text_length + self.new_tokens
        return too_long(self.id, length, config.get("text_config", config))

    def drawn(self, config: Any) -> VisualPromptsBatch:
        """Images of the model's size, behind them tokens of its vocabulary."""
        vision, placeholder = config.vision_config, config.image_token_id
        num_visual = self._layout(vision).num_tokens
        shape = (self.batch_size, self.images, _channels(vision), *self._size(vision))
        end = min(config.text_config.vocab_size, placeholder)
        text = tokens((self.batch_size, self.text_length), end)
        visual = torch.full((self.batch_size, num_visual), placeholder)
        return VisualPromptsBatch(pixels(shape), torch.cat([visual, text], dim=1))

    def answer(self, backbone: VisionLanguageBackbone, batch: VisualPromptsBatch) -> Tensor:
        """Tokens generated, [B, new_tokens]."""
        layout = self._layout(backbone.model.config.vision_config)
        turns = backbone.answer(batch.pixel_values, layout, batch.prompt, [], self.new_tokens)
        return turns[:, 0]

    def _size(self, vision: Any) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        side = self.image_size or ANY_SIZE
        return fixed_size(vision) or (side, side)

    def _layout(self, vision: Any) -> VisualLayout:
        height, width = self._size(vision)
        side = _token_side(vision)
        kind: Literal["single", "several"] = "single" if self.images == 1 else "several"
        return VisualLayout(self.images, (height // side, width // side), kind)


def _tower(config: dict[str, Any]) -> Any:
    """The tower's part of a ``config.json``, which may leave the library's defaults out."""
    stated = config["vision_config"]
    if "patch_size" in stated and ("image_size" in stated or "spatial_merge_size" in stated):
        return SimpleNamespace(**stated)  # without the seconds that the library takes to import
    return with_defaults(config).vision_config


def _token_side(vision: Any) -> int:
    """Pixels along a side of a visual token."""
    return int(vision.patch_size * getattr(vision, "spatial_merge_size", 1))


def _channels(vision: Any) -> int:
    """Colour channels; two families, two names."""
    return int(vision.num_channels if hasattr(vision, "num_channels") else vision.in_channels)
