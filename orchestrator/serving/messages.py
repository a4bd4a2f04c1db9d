"""What the engine says to the HTTP side; plain data, so that neither side imports the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from store.questions.asked import Question

PROBE: Final = {"example": 0}
"""Inputs that every task has an answer to: they show that a configuration works."""


@dataclass(frozen=True)
class Answer:
    """The task's output for one example."""

    output: dict[str, Any]
    seconds: float
    """Time in task and model, waiting for the model included."""
    tokens_kept: float
    """Tokens of the example that were held per layer, on average."""


@dataclass(frozen=True)
class Refusal:
    """What the caller asked has no answer."""

    reason: str
    code: str | None = None
    """OpenAI's word for it, where there is one."""


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: str
    text: str
    images: tuple[str, ...] = ()
    """Data URIs."""


@dataclass(frozen=True)
class Continuation:
    """A prompt and how far to go on from it."""

    prompt: str | tuple[int, ...] | tuple[Message, ...]
    """A text, tokens or a chat."""
    max_tokens: int | None
    """None: what the model's task asks for, or :data:`~orchestrator.serving.text.MOST_TOKENS`."""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """What one step of the model added to an answer."""

    text: str
    """Empty while a character, or what may become a stop, is not complete."""


@dataclass(frozen=True)
class Ending:
    """How an answer ended, and what it took."""

    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    """Visual tokens included."""
    completion_tokens: int
    """Those that ended the answer included."""
    tokens_kept: float
    """Entries that a layer's cache held of the prompt, on average over layers."""
    kv_bytes: int
    """Bytes of keys and values held once the prompt was read and compressed."""
    compressed: bool
    """Whether there was anything to compress; very short prompts are left whole."""


Event = Piece | Ending | Refusal


@dataclass(frozen=True)
class TextCard:
    """How a workload's model reads and writes text."""

    tokenizer: str
    """What a token is."""
    chat: str
    """How messages become a prompt."""
    images: int
    """Images that every chat holds; 0 for language models, which alone complete prompts."""
    context_length: int
    """Tokens of prompt and answer together."""
    default_tokens: int
    """Of an answer, where a request does not say."""


class UnavailableError(RuntimeError):
    """No engine answers at the moment, although the request was in order."""


class AsyncEngine(Protocol):
    """The engine, wherever it runs."""

    async def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """Answer one example. Raises UnavailableError."""
        ...

    async def probe(self) -> int:
        """Run every model once; returns their number. Raises UnavailableError."""
        ...

    async def text_cards(self, trials: Sequence[str]) -> Mapping[str, TextCard]:
        """Of those of the trials whose models go on from prompts. Raises UnavailableError."""
        ...

    def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        """Pieces as they are generated, then an ending; or a refusal. Raises UnavailableError."""
        ...


class AsyncAnalyst(Protocol):
    """Who answers questions about the sweep, wherever that runs."""

    async def ask(self, question: Question) -> list[dict[str, Any]] | Refusal:
        """One answer per workload. Raises UnavailableError."""
        ...
