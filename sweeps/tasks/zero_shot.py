"""zero-shot: name a scene's digit, or its colour, by the nearest class prompts.

A scene holds one coloured digit among fragments. A class is the mean embedding of nine prompts that
name it, one for every place, with what the question is not about in turn ("red three top left",
"green three top centre", ...), as CLIP averages templates (arXiv:2103.00020, section 3.1.4). A
corruption of a given severity makes a suite of distribution shift: no training scene is corrupted.
Metric: top-1 accuracy, maximised; chance is 0.10 for digits and 0.17 for colours.

Data: :mod:`sweeps.data.coloured_scenes`, a fixed stream of test scenes from scans that no training
scene contains, and :mod:`sweeps.data.corruptions`. A task with 128 examples sees the first 128 of
one with 256. Costs include the text tower on all prompts, once per batch.

Shapes: B scenes, S = 48 scene side, P = 9 prompts of a class, K classes, T prompt tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import cycle
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.backbones.clip import CLIPBackbone
from sweeps.data import captions, coloured_scenes
from sweeps.data.captions import COLOURS, DIGITS
from sweeps.data.corruptions import SEVERITIES, Corruption, corrupted
from sweeps.tasks._captioned import CaptionedTask, cosines, trimmed
from sweeps.tasks._pictures import picture
from sweeps.tasks._requests import only_key, only_row

Attribute = Literal["digit", "colour"]

UNKNOWN = -1  # label of a scene from a request


@dataclass(frozen=True)
class ZeroShotBatch:
    """Scenes of one forward pass."""

    pixel_values: Tensor  # float32 [B, 3, S, S], normalised
    labels: Tensor  # int64 [B], the class; -1 where unknown

    def __len__(self) -> int:
        return len(self.labels)


class ZeroShot(CaptionedTask[ZeroShotBatch]):
    """Top-1 accuracy through class prompts."""

    id: ClassVar[str] = "zero-shot"
    version: ClassVar[int] = 1
    metric: ClassVar[str] = "accuracy"

    attribute: Attribute = Field(default="digit", description="What is to be named.")
    corruption: Corruption = Field(default="none", description="What is done to the scenes.")
    severity: int = Field(
        default=3, ge=1, le=SEVERITIES, description="Of the corruption, if there is one."
    )

    def batches(self) -> list[ZeroShotBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: CLIPBackbone, batch: ZeroShotBatch) -> Tensor:
        """1.0 where the nearest class is the right one: float32 [B]."""
        return (self._cosines(backbone, batch).argmax(-1) == batch.labels).float()

    def predict(self, backbone: CLIPBackbone, batch: ZeroShotBatch) -> list[dict[str, Any]]:
        """Per scene: `label`, a word, and `probabilities` of all classes by word."""
        names = _NAMES[self.attribute]
        logits = backbone.logit_scale * self._cosines(backbone, batch)
        return [
            {
                "label": names[int(row.argmax())],
                "probabilities": dict(zip(names, row.tolist(), strict=True)),
            }
            for row in logits.softmax(-1)
        ]

    def batch_of(self, inputs: dict[str, Any]) -> ZeroShotBatch:
        """`{"example": 7}` of the test stream, or `{"pixel_values": [[[...]]]}` of 3x48x48."""
        key = only_key(inputs, ("example", "pixel_values"))
        if key == "example":
            return only_row(self, inputs[key])
        return ZeroShotBatch(picture(inputs[key])[None], torch.tensor([UNKNOWN]))

    def _cosines(self, backbone: CLIPBackbone, batch: ZeroShotBatch) -> Tensor:
        """Of every scene and every class: float32 [B, K] on the CPU."""
        prompts_KPT = _prompts(self.attribute)
        texts_ME = backbone.text_embeddings(prompts_KPT.flatten(0, 1))
        classes_KE = texts_ME.view(*prompts_KPT.shape[:2], -1).mean(1)
        return cosines(backbone, batch.pixel_values, normalize(classes_KE, dim=-1))


_NAMES: dict[Attribute, tuple[str, ...]] = {"digit": DIGITS, "colour": COLOURS}


@cache
def _prompts(attribute: Attribute) -> Tensor:
    """Nine prompts of every class, without padding: int64 [K, P, T]."""
    names = _NAMES[attribute]
    others = cycle(COLOURS if attribute == "digit" else DIGITS)
    places = [f"{row} {column}" for row in captions.ROWS for column in captions.COLUMNS]
    turns = list(zip(others, places, strict=False))
    prompts = [
        f"{other} {name} {place}" if attribute == "digit" else f"{name} {other} {place}"
        for name in names
        for other, place in turns
    ]
    tokens = trimmed(torch.stack([torch.from_numpy(captions.encode(text)) for text in prompts]))
    return tokens.view(len(names), len(places), -1)


@lru_cache(maxsize=4)
def _batches(task: ZeroShot) -> list[ZeroShotBatch]:
    drawn = coloured_scenes.singles("test", task.num_examples)
    changed = corrupted(drawn.pixels, task.corruption, task.severity)
    content = drawn.content
    cells_BC = content.digits if task.attribute == "digit" else content.colours
    labels = torch.from_numpy(cells_BC.min(axis=1))  # empty cells have the highest number
    parts = torch.split(torch.from_numpy(changed), task.batch_size)
    return [
        ZeroShotBatch(*rows)
        for rows in zip(parts, torch.split(labels, task.batch_size), strict=True)
    ]
