"""What goes on from prompts: a model, how it is written to, and what it is fed.

Shapes: T prompt tokens, I images of S x S px.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.backbones.base import Backbone
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.vision_language import VisionLanguageBackbone
from orchestrator.serving.messages import Continuation, Message, TextCard
from orchestrator.serving.pictures import picture
from orchestrator.serving.text import (
    MOST_TOKENS,
    Bytes,
    Codec,
    Decoder,
    Numbers,
    Spelled,
    only_message,
    tokenizer_beside,
)
from sweeps.data import scenes, source_text, wording
from sweeps.tasks._dialogue import DialogueTask
from sweeps.tasks._questions import QuestionTask
from sweeps.tasks.base import Task
from sweeps.tasks.text import Text
from sweeps.trial import TrialSpec


@dataclass(frozen=True)
class Fed:
    """A prompt as tokens, and what answers it."""

    tokens: list[int]
    run: Callable[[Any, int], object]
    """Generates with a handle on the model, at most so many tokens."""
    decoder: Decoder
    """Spells the answer."""


class Reader(ABC):
    """How one model is written to, and what it writes."""

    chat: str
    tokenizer: str
    images = 0
    default_tokens: int

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone

    @property
    def card(self) -> TextCard:
        """What callers have to know."""
        return TextCard(
            self.tokenizer, self.chat, self.images, self.context_length, self.default_tokens
        )

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        return int(self.backbone.model.config.get_text_config().max_position_embeddings)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(self.backbone.model.config.get_text_config().vocab_size)

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        found: set[int] = set()
        for config in (self.backbone.model.generation_config, self.backbone.model.config):
            with suppress(AttributeError):
                found |= _listed(config.eos_token_id)
        return frozenset(found | _listed(self.backbone.model.config.get_text_config().eos_token_id))

    @abstractmethod
    def fed(self, continuation: Continuation) -> Fed:
        """Raises ValueError where the model cannot go on from this."""


class LanguageReader(Reader):
    """A language model and the codec of its task, or the tokenizer beside it."""

    def __init__(self, backbone: CausalLMBackbone, codec: Codec) -> None:
        super().__init__(backbone)
        self._codec = codec
        self.chat = codec.chat
        self.tokenizer = codec.described
        self.default_tokens = codec.default_tokens

    @property
    def ends(self) -> frozenset[int]:
        """As the model says; a start token ends bytes, too."""
        start = {source_text.START} if isinstance(self._codec, Bytes) else set()
        return super().ends | start

    def fed(self, continuation: Continuation) -> Fed:
        """A text, tokens or a chat without images."""
        tokens = self._tokens(continuation.prompt)
        if len(tokens) < 2:
            raise ValueError(f"a prompt has at least 2 tokens; got {len(tokens)}")
        bad = next((t for t in tokens if not 0 <= t < self.vocabulary), None)
        if bad is not None:
            raise ValueError(f"tokens are numbers from 0 to {self.vocabulary - 1}; got {bad}")
        prompt_1T = torch.tensor([tokens])
        nothing = prompt_1T[:, :0]
        decoder = self._codec.decoder([] if _is_chat(continuation.prompt) else tokens)
        return Fed(tokens, lambda model, most: model.generate(prompt_1T, nothing, most), decoder)

    def _tokens(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            return self._codec.encode(prompt)
        if not _is_chat(prompt):
            return list(prompt)
        if any(message.images for message in prompt):
            raise ValueError("this model is a language model: it sees no images")
        return self._codec.dialogue(prompt)


class VisualReader(Reader):
    """A vision-language model that answers questions of its task's words about images."""

    tokenizer = "words of a small vocabulary; an image takes as many tokens as the tower makes"
    chat = "none: one user message with the images and one question of three words"

    def __init__(self, backbone: VisionLanguageBackbone, task: DialogueTask) -> None:
        super().__init__(backbone)
        self._task = task
        self.images = len(task.names)
        self.default_tokens = task.answer_length

    def fed(self, continuation: Continuation) -> Fed:
        """A chat of one message."""
        prompt = continuation.prompt
        if isinstance(prompt, str) or not all(isinstance(part, Message) for part in prompt):
            raise ValueError("this model answers about images: use /v1/chat/completions")
        message = only_message([part for part in prompt if isinstance(part, Message)])
        vision = self.backbone.model.config.vision_config
        pixels_1ICSS = self._pixels(message.images, vision.image_size)
        side = vision.image_size // vision.patch_size
        layout = self._task.layout((side, side))
        front_T = wording.prompt(self._task.names, layout.per_image)
        tokens = [*front_T.tolist(), *_question(message.text)]
        prompt_1T = torch.tensor([tokens])
        return Fed(
            tokens,
            lambda model, most: model.answer(pixels_1ICSS, layout, prompt_1T, [], most),
            Spelled(wording.WORDS),
        )

    def _pixels(self, images: Sequence[str], side: int) -> Tensor:
        """Scaled to the tower's size and normalised: float32 [1, I, 3, S, S]."""
        if len(images) != self.images:
            raise ValueError(f"this model looks at {self.images} images; got {len(images)}")
        scaled = [picture(uri).resize((side, side), Image.Resampling.BOX) for uri in images]
        pixels_ISSC = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in scaled])
        normalised = (pixels_ISSC - scenes.PIXEL_MEAN) / scenes.PIXEL_STD
        return torch.from_numpy(normalised).permute(0, 3, 1, 2)[None].float()


def reader_for(spec: TrialSpec, task: Task[Any, Any], backbone: Backbone) -> Reader | None:
    """How to go on from prompts with a trial's model; None where it gives no text."""
    if task.edits_prompts:
        return None
    if isinstance(backbone, VisionLanguageBackbone) and isinstance(task, DialogueTask):
        return VisualReader(backbone, task)
    if isinstance(backbone, CausalLMBackbone):
        return LanguageReader(backbone, tokenizer_beside(spec.backbone) or _codec(task))
    return None


def _codec(task: Task[Any, Any]) -> Codec:
    if isinstance(task, Text):
        return Bytes()
    return Numbers(task.answer_length if isinstance(task, QuestionTask) else MOST_TOKENS)


def _is_chat(prompt: Any) -> bool:
    return any(isinstance(part, Message) for part in prompt)


def _question(text: str) -> list[int]:
    words = text.split()
    if len(words) != wording.QUESTION_LENGTH:
        raise ValueError(
            f"a question has {wording.QUESTION_LENGTH} words, such as 'digit of red'; got "
            f"{len(words)}"
        )
    return [wording.token(word) for word in words]


def _listed(token: int | list[int] | None) -> set[int]:
    return set() if token is None else set(token) if isinstance(token, list) else {token}
