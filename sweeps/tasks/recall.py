"""recall: repeat the value that stood behind a key somewhere in a long context.

Key-value pairs are hidden in Markov filler; the question is a mark and one of the keys, and right
is only the exact value of three tokens, greedily decoded. A compression method has to keep the
cache entries of the pairs. Metric: exact match, maximised; chance is below 1e-5.

Two questions, two tasks. `known`: the question is in the prompt when the cache is compressed, so
question-aware methods can look for its answer. `unknown`: the cache is compressed before the
question arrives, as when a prefix is shared. Compare methods within one of them only.

Data: :mod:`sweeps.data.contexts`; procedural, a fixed test stream per context length and number of
pairs. A task with 128 examples sees the first 128 of one with 256.

Shapes: B examples, T context length, L = 3 tokens of a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from methods.backbones.causal_lm import CausalLMBackbone
from methods.places import Place
from sweeps.data import contexts
from sweeps.tasks._requests import is_integer, only_key, only_row
from sweeps.tasks.base import Task

UNKNOWN = -1  # answer of a context from a request
QUESTION_LENGTH = 2  # question mark and key


@dataclass(frozen=True)
class RecallBatch:
    """Examples of one forward pass."""

    context: Tensor  # int64 [B, T]
    question: Tensor  # int64 [B, 2], question mark and key
    answer: Tensor  # int64 [B, L]; -1 where unknown

    def __len__(self) -> int:
        return len(self.answer)


class Recall(Task[CausalLMBackbone, RecallBatch]):
    """Exact match of a key's value of three tokens."""

    id: ClassVar[str] = "recall"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "kv"
    metric: ClassVar[str] = "exact match"

    context_length: int = Field(
        default=256, ge=8, description="Tokens before the question, the start token included."
    )
    num_pairs: int = Field(
        default=12, ge=1, le=contexts.MAX_PAIRS, description="Key-value pairs in a context."
    )
    question: Literal["known", "unknown"] = Field(
        default="known", description="Whether the question is there when the cache is compressed."
    )

    @model_validator(mode="after")
    def _pairs_fit(self) -> Recall:
        needed = 1 + self.num_pairs * contexts.PAIR_LENGTH
        if needed > self.context_length:
            raise ValueError(
                f"num_pairs {self.num_pairs} needs {needed} tokens; context_length is "
                f"{self.context_length}"
            )
        return self

    def num_tokens(self, config: dict[str, Any]) -> int:  # noqa: ARG002 - the same for any model
        """Cache entries when it is compressed; the last token of a known question comes after."""
        return self.context_length + (QUESTION_LENGTH - 1 if self.question == "known" else 0)

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs its vocabulary and room for context, question and answer."""
        vocabulary = config.get("vocab_size", 0)
        if vocabulary < contexts.VOCABULARY:
            return (
                f"recall needs a vocabulary of {contexts.VOCABULARY}; this model has {vocabulary}"
            )
        length = self.context_length + QUESTION_LENGTH + contexts.VALUE_LENGTH
        positions = config.get("max_position_embeddings", length)
        if length > positions:
            return f"recall needs {length} positions; this model has {positions}"
        return None

    def batches(self) -> list[RecallBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def outcomes(self, backbone: CausalLMBackbone, batch: RecallBatch) -> Tensor:
        """1.0 where all three tokens are right: float32 [B]."""
        return (self._generated(backbone, batch) == batch.answer).all(-1).float()

    def predict(self, backbone: CausalLMBackbone, batch: RecallBatch) -> list[dict[str, Any]]:
        """Per example: `tokens`, the three that were generated."""
        return [{"tokens": row.tolist()} for row in self._generated(backbone, batch)]

    def batch_of(self, inputs: dict[str, Any]) -> RecallBatch:
        """`{"example": 7}` of the test stream, or `{"input_ids": [...]}`, question at its end."""
        key = only_key(inputs, ("example", "input_ids"))
        if key == "example":
            return only_row(self.batches(), inputs[key])
        tokens = torch.tensor([_tokens(inputs[key], self.context_length)])
        answer = torch.full((1, contexts.VALUE_LENGTH), UNKNOWN)
        return RecallBatch(tokens[:, :-QUESTION_LENGTH], tokens[:, -QUESTION_LENGTH:], answer)

    def _generated(self, backbone: CausalLMBackbone, batch: RecallBatch) -> Tensor:
        """Greedy answers: int64 [B, L]."""
        prompt, continuation = batch.context, batch.question
        if self.question == "known":
            prompt = torch.cat([batch.context, batch.question], dim=1)
            continuation = batch.question[:, :0]
        device = backbone.device
        return backbone.generate(
            prompt.to(device), continuation.to(device), contexts.VALUE_LENGTH
        ).cpu()


@lru_cache(maxsize=4)
def _batches(task: Recall) -> list[RecallBatch]:
    stream = contexts.stream("test", task.num_examples, task.context_length, task.num_pairs)
    parts = [
        torch.split(torch.from_numpy(part), task.batch_size)
        for part in (stream.context, stream.question, stream.answer)
    ]
    return [RecallBatch(*rows) for rows in zip(*parts, strict=True)]


def _tokens(value: Any, context_length: int) -> list[int]:
    """Checked token ids: a context and a question about a key."""
    longest = context_length + QUESTION_LENGTH
    if not isinstance(value, list) or not QUESTION_LENGTH < len(value) <= longest:
        length = len(value) if isinstance(value, list) else type(value).__name__
        raise ValueError(
            f"input_ids must be a list of {QUESTION_LENGTH + 1} to {longest} tokens; got {length}"
        )
    bad = [t for t in value if not is_integer(t) or not 0 <= t < contexts.VOCABULARY]
    if bad:
        raise ValueError(
            f"input_ids must be integers from 0 to {contexts.VOCABULARY - 1}; got {bad[0]!r}"
        )
    mark, key = value[-QUESTION_LENGTH:]
    if mark != contexts.QUESTION or not contexts.FIRST_KEY <= key < contexts.FIRST_VALUE:
        raise ValueError(
            f"input_ids must end in a question: token {contexts.QUESTION} and a key from "
            f"{contexts.FIRST_KEY} to {contexts.FIRST_VALUE - 1}; got [{mark}, {key}]"
        )
    return value
