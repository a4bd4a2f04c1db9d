"""What the engine says to the HTTP side; plain data, so that neither side imports the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Answer:
    """The task's output for one example."""

    output: dict[str, Any]
    seconds: float
    """Time in task and model, waiting for the model included."""


@dataclass(frozen=True)
class Refusal:
    """The caller's inputs have no answer."""

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
