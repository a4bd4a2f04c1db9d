"""What tasks share that ask a language model about a context and know the exact answer.

Two kinds of question, two tasks. `known`: the question is in the prompt when the cache is
compressed, so question-aware methods can look for its answer. `unknown`: the cache is compressed
before the question arrives, as when a prefix is shared. Compare methods within one of them only.

Shapes: B examples, T context length, Q question tokens, A answer tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from methods.backbones.causal_lm import CausalLMBackbone
from methods.places import Place
from sweeps.data import contexts
from sweeps.data.contexts import Ints
from sweeps.tasks._fit import too_few_tokens, too_long
from sweeps.tasks._requests import is_integer, only_key, only_row
from sweeps.tasks.base import Task

UNKNOWN = -1  # answer of a context from a request


@dataclass(frozen=True)
class QuestionBatch:
    """Examples of one forward pass."""

    context: Tensor  # int64 [B, T]
    question: Tensor  # int64 [B, Q]
    answer: Tensor  # int64 [B, A]; -1 where unknown

    def __len__(self) -> int:
        return len(self.answer)


class Drawn(Protocol):
    """Examples as the data module draws them."""

    @property
    def context(self) -> Ints:
        """Token ids of the contexts, [B, T]."""

    @property
    def question(self) -> Ints:
        """Token ids of the questions, [B, Q]."""

    @property
    def answer(self) -> Ints:
        """Token ids of the right answers, [B, A]."""


class QuestionTask(Task[CausalLMBackbone, QuestionBatch]):
    """Exact match of the whole answer, decoded greedily."""

    place: ClassVar[Place] = "kv"
    metric: ClassVar[str] = "exact match"
    vocabulary: ClassVar[int]
    """Tokens that contexts, questions and answers are made of."""

    context_length: int = Field(
        default=256, ge=8, description="Tokens before the question, the start token included."
    )
    question: Literal["known", "unknown"] = Field(
        default="known", description="Whether the question is there when the cache is compressed."
    )

    @property
    def question_length(self) -> int:
        """Tokens of a question."""
        raise NotImplementedError

    @property
    def answer_length(self) -> int:
        """Tokens of an answer."""
        raise NotImplementedError

    def drawn(self) -> Drawn:
        """The front of the test stream."""
        raise NotImplementedError

    def check_question(self, tokens: list[int]) -> None:
        """Raise ValueError unless these tokens, which are in the vocabulary, are a question."""
        raise NotImplementedError

    def num_tokens(self, config: dict[str, Any]) -> int:  # noqa: ARG002 - the same for any model
        """Cache entries when it is compressed; the last token of a known question comes after."""
        return self.context_length + (self.question_length - 1 if self.question == "known" else 0)

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs its vocabulary and room for context, question and answer."""
        length = self.context_length + self.question_length + self.answer_length
        unknown = too_few_tokens(self.id, self.vocabulary, config)
        return unknown or too_long(self.id, length, config)

    def batches(self) -> list[QuestionBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: CausalLMBackbone, batch: QuestionBatch) -> Tensor:
        """1.0 where all tokens of the answer are right: float32 [B]."""
        return (self._generated(backbone, batch) == batch.answer).all(-1).float()

    def predict(self, backbone: CausalLMBackbone, batch: QuestionBatch) -> list[dict[str, Any]]:
        """Per example: `tokens`, those that were generated."""
        return [{"tokens": row.tolist()} for row in self._generated(backbone, batch)]

    def words(self, batch: QuestionBatch) -> list[str]:
        """Context and question; a question that comes later is not in the prompt."""
        question = batch.question[0].tolist() if self.question == "known" else []
        return [contexts.word(token) for token in [*batch.context[0].tolist(), *question]]

    def batch_of(self, inputs: dict[str, Any]) -> QuestionBatch:
        """`{"example": 7}` of the test stream, or `{"input_ids": [...]}`, question at its end."""
        key = only_key(inputs, ("example", "input_ids"))
        if key == "example":
            return only_row(self, inputs[key])
        tokens = torch.tensor([self._tokens(inputs[key])])
        answer = torch.full((1, self.answer_length), UNKNOWN)
        asked = self.question_length
        return QuestionBatch(tokens[:, :-asked], tokens[:, -asked:], answer)

    def _tokens(self, value: Any) -> list[int]:
        """Checked token ids: a context and a question."""
        shortest, longest = self.question_length + 1, self.context_length + self.question_length
        if not isinstance(value, list) or not shortest <= len(value) <= longest:
            length = len(value) if isinstance(value, list) else type(value).__name__
            raise ValueError(
                f"input_ids must be a list of {shortest} to {longest} tokens; got {length}"
            )
        bad = [t for t in value if not is_integer(t) or not 0 <= t < self.vocabulary]
        if bad:
            raise ValueError(
                f"input_ids must be integers from 0 to {self.vocabulary - 1}; got {bad[0]!r}"
            )
        self.check_question(value[-self.question_length :])
        return value

    def _generated(self, backbone: CausalLMBackbone, batch: QuestionBatch) -> Tensor:
        """Greedy answers: int64 [B, A]."""
        prompt, continuation = batch.context, batch.question
        if self.question == "known":
            prompt = torch.cat([batch.context, batch.question], dim=1)
            continuation = batch.question[:, :0]
        device = backbone.device
        return backbone.generate(
            prompt.to(device), continuation.to(device), self.answer_length
        ).cpu()


@lru_cache(maxsize=4)
def _batches(task: QuestionTask) -> list[QuestionBatch]:
    drawn = task.drawn()
    parts = [
        torch.split(torch.from_numpy(part), task.batch_size)
        for part in (drawn.context, drawn.question, drawn.answer)
    ]
    return [QuestionBatch(*rows) for rows in zip(*parts, strict=True)]
