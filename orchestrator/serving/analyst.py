"""Answers questions about the sweep that is served, from the store that it was measured into."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.serving.messages import Refusal
from store.database import StoreUnavailableError
from store.questions.answers import ask
from store.questions.asked import Question
from store.repository import Store
from store.serialization import to_json


class Analyst:
    """Reads the store anew for each question: trials may have been added since the last."""

    def __init__(self, store_url: str, sweep: str) -> None:
        self._store = Store(store_url)
        self._sweep = sweep

    def ask(self, question: Question) -> list[dict[str, Any]] | Refusal:
        """One answer per workload, as :func:`store.questions.answers.ask` gives them."""
        try:
            answers = ask(self._store, self._sweep, question)
        except (ValueError, StoreUnavailableError) as error:
            return Refusal(str(error))
        plain: list[dict[str, Any]] = json.loads(to_json(answers))
        return plain
