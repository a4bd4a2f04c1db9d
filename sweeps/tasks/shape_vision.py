"""shape-vision: what one forward pass over images costs in a vision transformer.

Images are noise of the size that the model takes, and no answer is judged, so that the weights may
be random: measure costs, not quality. Works for classifiers of the `ViTForImageClassification`
family.

Data: none; pixels are drawn normally, always the same.

Shapes: B images, C colour channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from methods.backbones.vit import ViTBackbone
from methods.places import Place
from sweeps.tasks._shape import ShapeTask, image_shape, num_patches, pixels


@dataclass(frozen=True)
class ImagesBatch:
    """Images of one forward pass."""

    pixel_values: Tensor  # float32 [B, C, H, W]

    def __len__(self) -> int:
        return len(self.pixel_values)


class ShapeVision(ShapeTask[ViTBackbone, ImagesBatch]):
    """Images of noise."""

    id: ClassVar[str] = "shape-vision"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "vision"

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Patches of one image; the class token is not compressed."""
        return num_patches(config)

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """Only classifiers are run."""
        if config.get("architectures") != list(ViTBackbone.architectures):
            return f"{self.id} runs classifiers of {ViTBackbone.architectures[0]} only"
        return None

    def drawn(self, config: Any) -> ImagesBatch:
        """One image of the model's size for each example."""
        return ImagesBatch(pixels((self.batch_size, *image_shape(config))))

    def answer(self, backbone: ViTBackbone, batch: ImagesBatch) -> Tensor:
        """Class logits, [B, classes]."""
        return backbone.logits(batch.pixel_values)
