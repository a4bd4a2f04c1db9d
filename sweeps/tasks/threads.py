"""threads: follow chains of keys through a long context, for one or several needles at once.

A thread is a chain of keys; each of its links, a key and the one after it, stands somewhere else in
Markov filler. The question names the first keys of some threads, and the answer spells all of them
out, greedily decoded. Metric: exact match of the whole answer, maximised; chance is below 1e-2 for
one needle and one hop, and falls with both.

More `hops` make a task that no look at the question solves: only the first link of a thread has
a key in common with it, so that a method which keeps what the question attends to may drop the
second. More `needles` make the question's attention, and the budget, go round several places.

Two questions, two tasks. `known`: the question is in the prompt when the cache is compressed.
`unknown`: the cache is compressed before the question arrives, as when a prefix is shared. Compare
methods within one of them only.

Data: :mod:`sweeps.data.threads`; procedural, a fixed test stream per setting of the knobs. A task
with 128 examples sees the first 128 of one with 256.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from sweeps.data import contexts, threads
from sweeps.tasks._questions import QuestionTask


class ThreadsTask(QuestionTask):
    """Exact match of all keys of the threads asked for."""

    id: ClassVar[str] = "threads"
    version: ClassVar[int] = 1
    vocabulary: ClassVar[int] = contexts.VOCABULARY

    num_threads: int = Field(default=8, ge=1, description="Threads in a context.")
    hops: int = Field(default=2, ge=1, description="Links of a thread.")
    needles: int = Field(default=1, ge=1, le=4, description="Threads that a question asks for.")

    @model_validator(mode="after")
    def _threads_fit(self) -> ThreadsTask:
        threads.check(self.context_length, self.num_threads, self.hops, self.needles)
        return self

    @property
    def question_length(self) -> int:
        """A link from an ordinal to a key for each needle, a mark and the first ordinal."""
        return threads.question_length(self.needles)

    @property
    def answer_length(self) -> int:
        """All keys of the threads, with marks between threads."""
        return threads.answer_length(self.needles, self.hops)

    def drawn(self) -> threads.Examples:
        """The front of the test stream."""
        return threads.stream(
            "test",
            self.num_examples,
            self.context_length,
            self.num_threads,
            self.hops,
            self.needles,
        )

    def check_question(self, tokens: list[int]) -> None:
        """Raise ValueError unless the tokens name keys and ask for their threads."""
        if not threads.is_question(tokens):
            key = (contexts.FIRST_KEY, threads.FIRST_ORDINAL - 1)
            raise ValueError(
                f"input_ids must end in a question of {self.question_length} tokens: for each of "
                f"{self.needles} needles an ordinal (from {threads.FIRST_ORDINAL} on), a key from "
                f"{key[0]} to {key[1]} and token {contexts.DELIMITER}; then {contexts.QUESTION} "
                f"and {threads.FIRST_ORDINAL}; got {tokens}"
            )
