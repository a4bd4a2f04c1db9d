"""retrieval: find a scene's caption among those of look-alikes.

A scene holds three coloured digits among fragments; its gallery holds the captions of 32 scenes,
its own among them. In a `near` gallery all scenes have their digits in the same cells and each
digit is one of two values in one of two colours: the nearest captions differ in one word, so that
losing any detail loses the caption. In a `far` gallery scenes are independent, and any one detail
singles out the caption. Metric: recall@1 from image to text, maximised; chance is one over the
number of candidates.

Data: :mod:`sweeps.data.coloured_scenes`; real scans of 300 digits that no training scene contains,
in a fixed stream of test galleries per size and likeness. A task with 128 examples sees the first
128 of one with 256. Scenes of a gallery share candidates and are not independent: a standard error
over examples is a little too small. Costs include the text tower on the gallery, once per batch.

Shapes: B scenes, S = 48 scene side, G candidates, T caption tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.backbones.clip import CLIPBackbone
from sweeps.data import coloured_scenes
from sweeps.data.coloured_scenes import Likeness
from sweeps.tasks._captioned import CaptionedTask, cosines, encoded, trimmed, written
from sweeps.tasks._pictures import picture
from sweeps.tasks._requests import only_row

UNKNOWN = -1  # the right caption of a scene from a request


@dataclass(frozen=True)
class RetrievalBatch:
    """Scenes of one forward pass, each with its candidates."""

    pixel_values: Tensor  # float32 [B, 3, S, S], normalised
    captions: Tensor  # int64 [B, G, T], token ids
    right: Tensor  # int64 [B], the scene's own among its candidates; -1 where unknown

    def __len__(self) -> int:
        return len(self.right)


class Retrieval(CaptionedTask[RetrievalBatch]):
    """Recall@1 of captions."""

    id: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1
    metric: ClassVar[str] = "recall@1"

    num_candidates: int = Field(
        default=32, ge=2, le=coloured_scenes.MAX_NEAR, description="Captions to choose from."
    )
    likeness: Likeness = Field(
        default="near", description="Whether candidates differ in a word or are independent."
    )

    def batches(self) -> list[RetrievalBatch]:
        """The front of the test galleries; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: CLIPBackbone, batch: RetrievalBatch) -> Tensor:
        """1.0 where the scene's own caption is nearest: float32 [B]."""
        return (_cosines(backbone, batch).argmax(-1) == batch.right).float()

    def predict(self, backbone: CLIPBackbone, batch: RetrievalBatch) -> list[dict[str, Any]]:
        """Per scene: `caption`, the nearest, its `index`, and `cosines` of all candidates."""
        answers = []
        for cosines_G, captions_GT in zip(_cosines(backbone, batch), batch.captions, strict=True):
            index = int(cosines_G.argmax())
            caption = written(captions_GT[index])
            answers.append({"caption": caption, "index": index, "cosines": cosines_G.tolist()})
        return answers

    def batch_of(self, inputs: dict[str, Any]) -> RetrievalBatch:
        """`{"example": 7}`, or `{"pixel_values": [[[...]]], "captions": ["red two top left"]}`."""
        if set(inputs) == {"example"}:
            return only_row(self, inputs["example"])
        if set(inputs) != {"pixel_values", "captions"}:
            raise ValueError(
                f"inputs must hold example, or pixel_values and captions; got {list(inputs)}"
            )
        return RetrievalBatch(
            picture(inputs["pixel_values"])[None],
            encoded(inputs["captions"])[None],
            torch.tensor([UNKNOWN]),
        )


def _cosines(backbone: CLIPBackbone, batch: RetrievalBatch) -> Tensor:
    """Of each scene and its own candidates: [B, G]; a caption is encoded once."""
    num_scenes, num_candidates, _ = batch.captions.shape
    unique, index = torch.unique(batch.captions.flatten(0, 1), dim=0, return_inverse=True)
    texts_UE = backbone.text_embeddings(trimmed(unique))
    return cosines(backbone, batch.pixel_values, texts_UE).gather(
        1, index.view(num_scenes, num_candidates)
    )


@lru_cache(maxsize=4)
def _batches(task: Retrieval) -> list[RetrievalBatch]:
    size = task.num_candidates
    galleries = [
        coloured_scenes.gallery("test", task.likeness, size, number)
        for number in range(-(-task.num_examples // size))
    ]
    captions = [torch.from_numpy(gallery.content.captions()) for gallery in galleries]
    whole = (
        torch.cat([torch.from_numpy(gallery.pixels) for gallery in galleries]),
        torch.cat([captions_GT.expand(size, -1, -1) for captions_GT in captions]),
        torch.arange(size).repeat(len(galleries)),
    )
    parts = [torch.split(part[: task.num_examples], task.batch_size) for part in whole]
    return [RetrievalBatch(*rows) for rows in zip(*parts, strict=True)]
