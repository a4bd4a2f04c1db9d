"""digits: name the one whole handwritten digit in a cluttered scene.

Only a few of a scene's 144 patches matter, and a compression method has to find which: the digit
stands in one of nine cells, drawn uniformly, and six fragments of other digits in the other cells
look like ink as well. Metric: top-1 accuracy, maximised; chance is 0.10.

Data: :mod:`sweeps.data.scenes`; real scans of 300 digits that no training scene contains, composed
into a fixed stream of test scenes. A task with 128 examples sees the first 128 of one with 256.
Because scans recur in the stream, its scenes are not quite independent: a standard error over
examples is a little too small.

Shapes: B scenes, 3 colour channels, S = 48 scene side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.vit import ViTBackbone
from methods.places import Place
from sweeps.data import scenes
from sweeps.tasks._pictures import num_patches, picture, scans_digest, unfit
from sweeps.tasks._requests import only_key, only_row
from sweeps.tasks.base import Task

UNKNOWN = -1  # label of a scene from a request


@dataclass(frozen=True)
class DigitsBatch:
    """Scenes of one forward pass."""

    pixel_values: Tensor  # float32 [B, 3, S, S], normalised
    labels: Tensor  # int64 [B], 0 to 9; -1 where unknown

    def __len__(self) -> int:
        return len(self.labels)


class Digits(Task[ViTBackbone, DigitsBatch]):
    """Top-1 accuracy on scenes with one whole digit each."""

    id: ClassVar[str] = "digits"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "vision"
    metric: ClassVar[str] = "accuracy"

    def source_digests(self) -> list[str]:
        """Digest of scikit-learn's file of scans, uncompressed."""
        return [scans_digest()]

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Patches of one scene; the class token is not compressed."""
        return num_patches(config)

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs a classifier of 48x48 RGB images into ten classes."""
        labels = config.get("id2label", {"0": "", "1": ""})  # Hugging Face leaves two classes out
        if len(labels) != scenes.CLASSES and unfit(self.id, config) is None:
            return f"digits needs {scenes.CLASSES} classes; this model has {len(labels)}"
        return unfit(self.id, config)

    def batches(self) -> list[DigitsBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: ViTBackbone, batch: DigitsBatch) -> Tensor:
        """1.0 where the most likely class is the digit: float32 [B]."""
        return (self._logits(backbone, batch).argmax(-1) == batch.labels).float()

    def predict(self, backbone: ViTBackbone, batch: DigitsBatch) -> list[dict[str, Any]]:
        """Per scene: `label`, 0 to 9, and `probabilities` of the ten classes."""
        probabilities = self._logits(backbone, batch).softmax(-1)
        return [
            {"label": int(row.argmax()), "probabilities": row.tolist()} for row in probabilities
        ]

    def batch_of(self, inputs: dict[str, Any]) -> DigitsBatch:
        """`{"example": 7}` of the test stream, or `{"pixel_values": [[[...]]]}` of 3x48x48."""
        key = only_key(inputs, ("example", "pixel_values"))
        if key == "example":
            return only_row(self, inputs[key])
        return DigitsBatch(picture(inputs[key])[None], torch.tensor([UNKNOWN]))

    @staticmethod
    def _logits(backbone: ViTBackbone, batch: DigitsBatch) -> Tensor:
        return backbone.logits(batch.pixel_values.to(backbone.device)).float().cpu()


@lru_cache(maxsize=4)
def _batches(task: Digits) -> list[DigitsBatch]:
    stream = scenes.stream("test", task.num_examples)
    pixels = torch.split(torch.from_numpy(stream.pixels), task.batch_size)
    labels = torch.split(torch.from_numpy(stream.labels), task.batch_size)
    return [DigitsBatch(*pair) for pair in zip(pixels, labels, strict=True)]
