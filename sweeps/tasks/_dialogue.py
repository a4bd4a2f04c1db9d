"""What tasks share in which a vision-language model answers questions about images.

A question is known when tokens are compressed only if it is the first of its dialogue: later ones
are asked over the state that is left, so that a question-aware method has not seen them.

Shapes: B dialogues, I images, S = 32 image side, T prompt tokens, Q turns, 3 question tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.vision_language import VisionLanguageBackbone
from methods.contexts import VisualLayout
from methods.places import Place
from sweeps.data import wording
from sweeps.data.dialogues import Dialogues
from sweeps.data.mosaics import SIDE
from sweeps.data.wording import QUESTION_LENGTH, VOCABULARY
from sweeps.tasks._fit import too_few_tokens
from sweeps.tasks._pictures import picture, scans_digest, unfit
from sweeps.tasks._requests import only_row
from sweeps.tasks.base import Task

UNKNOWN = -1  # answer of a dialogue from a request


@dataclass(frozen=True)
class DialogueBatch:
    """Dialogues of one forward pass."""

    pixels: Tensor  # float32 [B, I, 3, S, S], normalised
    questions: Tensor  # int64 [B, Q, 3]
    answers: Tensor  # int64 [B, Q]; -1 where unknown

    def __len__(self) -> int:
        return len(self.answers)


class DialogueTask(Task[VisionLanguageBackbone, DialogueBatch]):
    """Share of dialogues whose last question is answered right."""

    place: ClassVar[Place] = "vlm"
    metric: ClassVar[str] = "accuracy"

    def drawn(self) -> Dialogues:
        """The front of the test stream."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """What the images are called, in the order in which they are shown."""
        raise NotImplementedError

    @property
    def num_turns(self) -> int:
        """Questions of a dialogue."""
        return 1

    @property
    def answer_length(self) -> int:
        """Tokens of an answer: one word."""
        return 1

    def layout(self, grid: tuple[int, int]) -> VisualLayout:
        """How images of so many rows and columns of tokens make up an example."""
        raise NotImplementedError

    def source_digests(self) -> list[str]:
        """Digest of scikit-learn's file of scans, uncompressed."""
        return [scans_digest()]

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Visual tokens of all images together."""
        side = SIDE // int(config["vision_config"]["patch_size"])
        return self.layout((side, side)).num_tokens

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs a tower for 32x32 RGB images, its vocabulary and its placeholder."""
        if (reason := unfit(self.id, config.get("vision_config", {}), SIDE)) is not None:
            return reason
        text = config.get("text_config", {})
        if (reason := too_few_tokens(self.id, VOCABULARY, text)) is not None:
            return reason
        placeholder = config.get("image_token_index")
        if placeholder != wording.IMAGE:
            return (
                f"{self.id} needs image_token_index {wording.IMAGE}; this model has {placeholder}"
            )
        return None

    def batches(self) -> list[DialogueBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: VisionLanguageBackbone, batch: DialogueBatch) -> Tensor:
        """1.0 where the last answer is right: float32 [B]."""
        return (self._answers(backbone, batch) == batch.answers)[:, -1].float()

    def predict(
        self, backbone: VisionLanguageBackbone, batch: DialogueBatch
    ) -> list[dict[str, Any]]:
        """Per dialogue: `answers`, a word for each question."""
        return [
            {"answers": wording.words(row).split()}
            for row in self._answers(backbone, batch).tolist()
        ]

    def batch_of(self, inputs: dict[str, Any]) -> DialogueBatch:
        """One dialogue, of the test stream or with images and questions of one's own.

        `{"example": 7}`, or `{"pixel_values": [...], "questions": ["digit of red"]}` with an image
        of 3x32x32 numbers for each of :attr:`names` and a question for each turn.
        """
        if list(inputs) == ["example"]:
            return only_row(self, inputs["example"])
        if sorted(inputs) != ["pixel_values", "questions"]:
            raise ValueError(
                f"inputs must hold example, or pixel_values and questions; got {list(inputs)}"
            )
        images = _listed("pixel_values", inputs["pixel_values"], len(self.names))
        asked = _listed("questions", inputs["questions"], self.num_turns)
        return DialogueBatch(
            torch.stack([picture(image, SIDE) for image in images])[None],
            torch.tensor([[_question(text) for text in asked]]),
            torch.full((1, self.num_turns), UNKNOWN),
        )

    def _answers(self, backbone: VisionLanguageBackbone, batch: DialogueBatch) -> Tensor:
        """Greedy answers: int64 [B, Q]."""
        side = SIDE // int(backbone.model.config.vision_config.patch_size)
        layout = self.layout((side, side))
        first_B3, *later = batch.questions.unbind(1)
        prompt_T = torch.from_numpy(wording.prompt(self.names, layout.per_image))
        prompt_BT = torch.cat([prompt_T.expand(len(batch), -1), first_B3], dim=1)
        return backbone.answer(batch.pixels, layout, prompt_BT, later, self.answer_length)[
            ..., 0
        ].cpu()


def _listed(name: str, value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        got = len(value) if isinstance(value, list) else type(value).__name__
        raise ValueError(f"{name} must be a list of {length}; got {got}")
    return value


def _question(text: Any) -> list[int]:
    """Token ids of a question in words."""
    parts = text.split() if isinstance(text, str) else []
    if len(parts) != QUESTION_LENGTH:
        raise ValueError(f"a question has {QUESTION_LENGTH} words; got {text!r}")
    return [wording.token(part) for part in parts]


@lru_cache(maxsize=8)
def _batches(task: DialogueTask) -> list[DialogueBatch]:
    drawn = task.drawn()
    parts = [
        torch.split(torch.from_numpy(part), task.batch_size)
        for part in (drawn.pixels, drawn.questions, drawn.answers)
    ]
    return [DialogueBatch(*rows) for rows in zip(*parts, strict=True)]
