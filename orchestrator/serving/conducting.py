"""The conductor as a deployment of Ray Serve."""

from __future__ import annotations

from typing import Any

from orchestrator.serving.conductor import Conductor
from orchestrator.serving.retrying import RetryingEngine
from orchestrator.serving.shelf import Shelf


class ServedConductor(Conductor):
    """Behind it, the engine is a handle."""

    def __init__(self, shelf: Shelf, engine: Any) -> None:
        super().__init__(shelf, RetryingEngine(engine))
