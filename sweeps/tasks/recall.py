"""recall: repeat the value that stood behind a key somewhere in a long context.

Key-value pairs are hidden in Markov filler; the question is a mark and one of the keys, and right
is only the exact value of three tokens, greedily decoded. A compression method has to keep the
cache entries of the pairs. Metric: exact match, maximised; chance is below 1e-5.

Two questions, two tasks. `known`: the question is in the prompt when the cache is compressed, so
question-aware methods can look for its answer. `unknown`: the cache is compressed before the
question arrives, as when a prefix is shared. Compare methods within one of them only.

Data: :mod:`sweeps.data.contexts`; procedural, a fixed test stream per context length and number of
pairs. A task with 128 examples sees the first 128 of one with 256.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from sweeps.data import contexts
from sweeps.tasks._questions import QuestionTask

QUESTION_LENGTH = 2  # question mark and key


class Recall(QuestionTask):
    """Exact match of a key's value of three tokens."""

    id: ClassVar[str] = "recall"
    version: ClassVar[int] = 1
    vocabulary: ClassVar[int] = contexts.VOCABULARY

    num_pairs: int = Field(
        default=12, ge=1, le=contexts.MAX_PAIRS, description="Key-value pairs in a context."
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

    @property
    def question_length(self) -> int:
        """A mark and a key."""
        return QUESTION_LENGTH

    @property
    def answer_length(self) -> int:
        """Tokens of a value."""
        return contexts.VALUE_LENGTH

    def drawn(self) -> contexts.Examples:
        """The front of the test stream."""
        return contexts.stream("test", self.num_examples, self.context_length, self.num_pairs)

    def check_question(self, tokens: list[int]) -> None:
        """Raise ValueError unless the tokens are a question about a key."""
        mark, key = tokens
        if mark != contexts.QUESTION or not contexts.FIRST_KEY <= key < contexts.FIRST_VALUE:
            raise ValueError(
                f"input_ids must end in a question: token {contexts.QUESTION} and a key from "
                f"{contexts.FIRST_KEY} to {contexts.FIRST_VALUE - 1}; got [{mark}, {key}]"
            )
