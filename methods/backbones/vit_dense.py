"""Vision transformers of the ``ViTForMaskedImageModeling`` family as dense predictors.

The decoder paints an image from the final state of every patch, so tokens that were reduced on the
way are put back on the grid before the last layer norm
(:mod:`methods.backbones.vision_tower_restore`).

Shapes: B images, M tokens with the class token first, C colour channels, S image side, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from methods.backbones.base import Compression, Stage
from methods.backbones.vision_tower import VisionBackbone, grid_of, require_finite
from methods.backbones.vision_tower_reduction import NUM_PROTECTED
from methods.backbones.vision_tower_restore import RestoringReduction
from methods.backbones.vit import ViTTower


class ViTDenseBackbone(ViTTower, VisionBackbone):
    """A Hugging Face ``ViTForMaskedImageModeling``."""

    architectures: ClassVar[tuple[str, ...]] = ("ViTForMaskedImageModeling",)
    model_class: ClassVar[str] = "ViTForMaskedImageModeling"

    @classmethod
    def answer_of(cls, model: Any, hidden_BMD: Tensor) -> Tensor:
        """The highest channel of every pixel, summed."""
        patches_BDN = model.vit.layernorm.forward(hidden_BMD)[:, NUM_PROTECTED:].mT
        rows, columns = grid_of(model.config)
        painted_BCSS: Tensor = model.decoder(patches_BDN.unflatten(2, (rows, columns)))
        return painted_BCSS.amax(1).flatten(1).sum(1)

    @contextmanager
    def _attach_tower(self, stage: Stage, seed: int, compression: Compression) -> Iterator[None]:
        """Reduce patches, and put them back before the last layer norm."""
        with self.tower.attach(stage, seed, compression, RestoringReduction) as reduction:

            def restore(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
                return (reduction.restored(args[0]),)

            handle = self.model.vit.layernorm.register_forward_pre_hook(restore)
            try:
                yield
            finally:
                handle.remove()

    @torch.no_grad()
    def reconstruction(self, pixels_BCHW: Tensor) -> Tensor:
        """What the decoder paints, float [B, C, S, S]; no patch is masked.

        Raises FloatingPointError if any pixel is not finite.
        """
        painted = self.model(self._inputs(pixels_BCHW)).reconstruction
        return require_finite(painted.float(), "reconstructions")
