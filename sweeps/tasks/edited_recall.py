"""edited-recall: the recall task in a context that was edited after the model had read it.

Key-value pairs are hidden in Markov filler as in `recall`. The context has been read and cached;
then a span near its front is inserted, deleted or replaced, and the question, a mark and a key,
follows the edited context. Right is only the exact value of three tokens, greedily decoded. Without
compression the edited context is read again from its first token; methods of the place `edit` build
its cache from the one before, and methods for the cache compress it as in `recall` with an unknown
question. Metric: exact match, maximised; chance is below 1e-5.

Two kinds of question. `elsewhere`: a pair behind the edit, which was read before it and has been
moved. `inside`: a pair that the edit put in; after `replace` its key had another value before.

The cost of reading the context before the edit is not counted, whatever the method: it was paid
earlier. Data: :mod:`sweeps.data.edits`; procedural, a fixed test stream per setting.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from methods.backbones.causal_lm import CausalLMBackbone
from methods.edit._base import Edit
from methods.places import Place
from sweeps.data import contexts, edits
from sweeps.tasks._fit import too_few_tokens, too_long
from sweeps.tasks._requests import is_integer, only_key, only_row
from sweeps.tasks.base import Task

QUESTION_LENGTH = 2  # question mark and key
UNKNOWN = -1  # answer of a context from a request
REQUEST = {"before", "start", "length", "replacement", "question"}


@dataclass(frozen=True)
class EditedBatch:
    """Examples of one forward pass, all edited at the same place."""

    before: Tensor  # int64 [B, T]
    span: Tensor  # int64 [B, 2], position and number of the tokens that give way
    replacement: Tensor  # int64 [B, R]
    question: Tensor  # int64 [B, 2]
    answer: Tensor  # int64 [B, 3]; -1 where unknown

    def __len__(self) -> int:
        return len(self.before)

    @property
    def edit(self) -> Edit:
        """The edit of all examples."""
        start, length = self.span[0].tolist()
        return Edit(start, length, self.replacement)


class EditedRecall(Task[CausalLMBackbone, EditedBatch]):
    """Exact match of a key's value of three tokens in an edited context."""

    id: ClassVar[str] = "edited-recall"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "kv"
    metric: ClassVar[str] = "exact match"
    edits_prompts: ClassVar[bool] = True

    context_length: int = Field(
        default=256, ge=16, description="Tokens after the edit, the start token included."
    )
    num_pairs: int = Field(
        default=12, ge=1, le=contexts.MAX_PAIRS, description="Key-value pairs after the edit."
    )
    edit: edits.Kind = Field(default="insert", description="What is done to the span.")
    edit_length: int = Field(
        default=32,
        ge=2 * contexts.PAIR_LENGTH,
        description="Tokens of the span; what a replacement replaces is half as long.",
    )
    asked: edits.Asked = Field(
        default="elsewhere", description="Where the asked pair is: behind the edit or in the span."
    )

    @model_validator(mode="after")
    def _possible(self) -> EditedRecall:
        if self.edit == "delete" and self.asked == "inside":
            raise ValueError("asked inside: what is deleted cannot be asked for; choose elsewhere")
        problem = self.plan.problem()
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def plan(self) -> edits.Plan:
        """The parts of a context."""
        return edits.Plan(self.edit, self.context_length, self.num_pairs, self.edit_length)

    def num_tokens(self, config: dict[str, Any]) -> int:  # noqa: ARG002 - the same for any model
        """Cache entries of the edited context."""
        return self.context_length

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs its vocabulary and room for context, question and answer."""
        length = self._longest + QUESTION_LENGTH + contexts.VALUE_LENGTH
        unknown = too_few_tokens(self.id, contexts.VOCABULARY, config)
        return unknown or too_long(self.id, length, config)

    @property
    def answer_length(self) -> int:
        """Tokens of a value."""
        return contexts.VALUE_LENGTH

    @property
    def _longest(self) -> int:
        """Tokens of the longer one of the contexts before and after the edit."""
        plan = self.plan
        return self.context_length + max(0, plan.old_length - plan.new_length)

    def batches(self) -> list[EditedBatch]:
        """The front of the test stream; made once per process."""
        return _batches(self)

    def prepared(
        self, backbone: CausalLMBackbone, batch: EditedBatch
    ) -> AbstractContextManager[None]:
        """The contexts before the edit have been read."""
        return backbone.remembering(batch.before)

    def outcomes(self, backbone: CausalLMBackbone, batch: EditedBatch) -> Tensor:
        """1.0 where all tokens of the answer are right: float32 [B]."""
        return (self._generated(backbone, batch) == batch.answer).all(-1).float()

    def predict(self, backbone: CausalLMBackbone, batch: EditedBatch) -> list[dict[str, Any]]:
        """Per example: `tokens`, those that were generated."""
        return [{"tokens": row.tolist()} for row in self._generated(backbone, batch)]

    def batch_of(self, inputs: dict[str, Any]) -> EditedBatch:
        """`{"example": 7}` of the test stream, or `{"edit": {...}}`.

        An edit has `before`, the tokens that were there; `start` and `length` of what gives way to
        the tokens of `replacement`; and `question`, a mark and a key.
        """
        if only_key(inputs, ("example", "edit")) == "example":
            return only_row(self, inputs["example"])
        return self._requested(inputs["edit"])

    def _requested(self, value: Any) -> EditedBatch:
        """Raises ValueError that says what is wrong with a request's edit."""
        if not isinstance(value, dict) or set(value) != REQUEST:
            raise ValueError(f"edit must hold exactly {', '.join(sorted(REQUEST))}; got {value!r}")
        before = _tokens("before", value["before"], 1, self._longest)
        replacement = _tokens("replacement", value["replacement"], 0, self._longest)
        question = _tokens("question", value["question"], QUESTION_LENGTH, QUESTION_LENGTH)
        span = torch.tensor([[_whole(name, value[name]) for name in ("start", "length")]])
        answer = torch.full((1, contexts.VALUE_LENGTH), UNKNOWN)
        batch = EditedBatch(before, span, replacement, question, answer)
        num_edited = batch.edit.applied(before).shape[1]
        if not 1 <= num_edited <= self._longest:
            raise ValueError(f"1 to {self._longest} tokens may be left; got {num_edited}")
        return batch

    def _generated(self, backbone: CausalLMBackbone, batch: EditedBatch) -> Tensor:
        """Greedy answers: int64 [B, 3]."""
        length = contexts.VALUE_LENGTH
        return backbone.edited_generate(batch.before, batch.edit, batch.question, length).cpu()


def _tokens(name: str, value: Any, shortest: int, longest: int) -> Tensor:
    """A list of token ids as a batch of one. Raises ValueError."""
    if not isinstance(value, list) or not shortest <= len(value) <= longest:
        length = len(value) if isinstance(value, list) else type(value).__name__
        raise ValueError(f"{name} must be a list of {shortest} to {longest} tokens; got {length}")
    bad = [t for t in value if not is_integer(t) or not 0 <= t < contexts.VOCABULARY]
    if bad:
        raise ValueError(
            f"{name} must be integers from 0 to {contexts.VOCABULARY - 1}; got {bad[0]!r}"
        )
    return torch.tensor([value], dtype=torch.long)


def _whole(name: str, value: Any) -> int:
    """A number of tokens. Raises ValueError."""
    if not is_integer(value) or value < 0:
        raise ValueError(f"{name} must be an integer from 0; got {value!r}")
    return int(value)


@lru_cache(maxsize=4)
def _batches(task: EditedRecall) -> list[EditedBatch]:
    drawn = edits.stream("test", task.num_examples, task.plan, task.asked)
    span = torch.tensor([task.plan.start, task.plan.old_length]).repeat(task.num_examples, 1)
    arrays = (drawn.before, drawn.replacement, drawn.question, drawn.answer)
    before, replacement, question, answer = map(torch.from_numpy, arrays)
    parts = (before, span, replacement, question, answer)
    rows = zip(*(torch.split(part, task.batch_size) for part in parts), strict=True)
    return [EditedBatch(*row) for row in rows]
