"""A release as ``mlflow.pyfunc.load_model("models:/paretoken-SWEEP@champion")`` gives it.

MLflow imports this module by name and calls :func:`_load_pyfunc`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.serving.engine import Engine
from orchestrator.serving.messages import Answer
from orchestrator.serving.router import Router, Wish
from store.releases.release import Release

if TYPE_CHECKING:
    from pandas import DataFrame


class ReleaseModel:
    """Answers examples of a workload, each within the budget of the call."""

    def __init__(self, release: Release) -> None:
        self._router = Router(release)
        self._engine = Engine(release)

    def predict(
        self, model_input: DataFrame, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """An answer for each row, whose columns are what the task's requests have.

        ``params`` may hold ``workload``, ``configuration``, ``max_cost`` and ``min_quality``, as in
        ``/v1/predict``. Raises ValueError where nothing fits, or an example cannot be read.
        """
        configuration = self._router.route(Wish(**(params or {}))).configuration
        rows = json.loads(model_input.to_json(orient="records"))
        return [self._answered(configuration.trial, row) for row in rows]

    def _answered(self, trial: str, row: dict[str, Any]) -> dict[str, Any]:
        answer = self._engine.predict(trial, row)
        if not isinstance(answer, Answer):
            raise ValueError(answer.reason)
        return answer.output


def _load_pyfunc(path: str) -> ReleaseModel:
    return ReleaseModel(Release.model_validate_json(Path(path).read_text()))
