"""What the engine says to the HTTP side; plain data, so that neither side imports the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from store.questions.asked import Question


@dataclass(frozen=True)
class Answer:
    """The task's output for one example."""

    output: dict[str, Any]
    seconds: float
    """Time in task and model, waiting for the model included."""


@dataclass(frozen=True)
class Refusal:
    """What the caller asked has no answer."""

    reason: str


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


class AsyncAnalyst(Protocol):
    """Who answers questions about the sweep, wherever that runs."""

    async def ask(self, question: Question) -> list[dict[str, Any]] | Refusal:
        """One answer per workload. Raises UnavailableError."""
        ...
