"""What tasks share in asking whether a decoder has the tokens and the room that they need."""

from __future__ import annotations

from typing import Any


def too_few_tokens(task_id: str, vocabulary: int, decoder: dict[str, Any]) -> str | None:
    """Why a decoder with this configuration does not know all the tokens, or None."""
    known = decoder.get("vocab_size", 0)
    if known < vocabulary:
        return f"{task_id} needs a vocabulary of {vocabulary}; this model has {known}"
    return None


def too_long(task_id: str, length: int, decoder: dict[str, Any]) -> str | None:
    """Why a decoder with this configuration has no room for so many tokens, or None."""
    positions = decoder.get("max_position_embeddings", length)
    if length > positions:
        return f"{task_id} needs {length} positions; this model has {positions}"
    return None
