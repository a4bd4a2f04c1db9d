"""dense: paint every pixel's class: background, ink of a fragment, or ink of a whole digit.

Three whole digits and six fragments of digits stand in a scene, and whether a stroke belongs to a
digit shows only in its surroundings. The prediction is an image of the scene's size, so tokens that
were merged or pruned have to be put back on the grid: the task judges compression and un-merging
together. Metric: intersection over union per scene, averaged over the three classes and then over
scenes (mIoU-I of arXiv:2310.19252), maximised; all background scores about 0.29.

The model is an image-to-image predictor of three channels, one per class; the class of a pixel is
the channel with the highest value.

Data: :mod:`sweeps.data.ink`; real scans of 300 digits that no training scene contains, composed
into a fixed stream of test scenes. A task with 128 examples sees the first 128 of one with 256.
Because scans recur in the stream, its scenes are not quite independent: a standard error over
examples is a little too small.

Shapes: B scenes, S = 48 scene side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.vit_dense import ViTDenseBackbone
from methods.places import Place
from sweeps.data import ink, scenes
from sweeps.tasks._pictures import num_patches, picture, scans_digest, unfit
from sweeps.tasks._requests import only_key, only_row
from sweeps.tasks.base import Task

UNKNOWN = -1  # class of the pixels of a scene from a request


@dataclass(frozen=True)
class DenseBatch:
    """Scenes of one forward pass."""

    pixel_values: Tensor  # float32 [B, 3, S, S], normalised
    classes: Tensor  # int64 [B, S, S], 0 to 2; -1 where unknown

    def __len__(self) -> int:
        return len(self.classes)


class Dense(Task[ViTDenseBackbone, DenseBatch]):
    """Mean intersection over union of three classes of pixels."""

    id: ClassVar[str] = "dense"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "vision"
    metric: ClassVar[str] = "mean IoU"

    def source_digests(self) -> list[str]:
        """Digest of scikit-learn's file of scans, uncompressed."""
        return [scans_digest()]

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Patches of one scene; the class token is not compressed."""
        return num_patches(config)

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs an image-to-image model that paints each of its 48x48 pixels."""
        patch, stride = config.get("patch_size"), config.get("encoder_stride", 16)
        if patch != stride and unfit(self.id, config) is None:
            return (
                f"dense needs an encoder_stride of its patch_size {patch}; this model has {stride}"
            )
        return unfit(self.id, config)

    def batches(self) -> list[DenseBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: ViTDenseBackbone, batch: DenseBatch) -> Tensor:
        """Mean intersection over union of each scene: float32 [B]."""
        painted_BSS = self._painted(backbone, batch)
        return torch.from_numpy(ink.mean_iou(painted_BSS.numpy(), batch.classes.numpy()))

    def predict(self, backbone: ViTDenseBackbone, batch: DenseBatch) -> list[dict[str, Any]]:
        """Per scene: `classes`, rows of pixels' class numbers, and their `names`."""
        names = list(ink.CLASSES)
        return [
            {"classes": rows_SS.tolist(), "names": names}
            for rows_SS in self._painted(backbone, batch)
        ]

    def batch_of(self, inputs: dict[str, Any]) -> DenseBatch:
        """`{"example": 7}` of the test stream, or `{"pixel_values": [[[...]]]}` of 3x48x48."""
        key = only_key(inputs, ("example", "pixel_values"))
        if key == "example":
            return only_row(self, inputs[key])
        unknown = torch.full((1, scenes.SIDE, scenes.SIDE), UNKNOWN)
        return DenseBatch(picture(inputs[key])[None], unknown)

    @staticmethod
    def _painted(backbone: ViTDenseBackbone, batch: DenseBatch) -> Tensor:
        """The class of every pixel: int64 [B, S, S] on the CPU."""
        image_B3SS = backbone.reconstruction(batch.pixel_values.to(backbone.device))
        return image_B3SS.argmax(1).cpu()


@lru_cache(maxsize=4)
def _batches(task: Dense) -> list[DenseBatch]:
    stream = ink.stream("test", task.num_examples)
    pixels = torch.split(torch.from_numpy(stream.pixels), task.batch_size)
    classes = torch.split(torch.from_numpy(stream.classes), task.batch_size)
    return [DenseBatch(*pair) for pair in zip(pixels, classes, strict=True)]
