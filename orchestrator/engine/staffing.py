"""How many workers a sweep may have now, as nodes come and go and other sweeps want a share."""

from __future__ import annotations

import math
import time
from typing import Protocol

from orchestrator.engine.crew import Resources, nodes


class Staffing(Protocol):
    """Says how large a crew may be."""

    def workers(self, trials: int) -> int:
        """Workers to have now that ``trials`` are not done; asked often, so it never waits long."""
        ...


LOOK_SECONDS = 1.0
"""How often the nodes are looked at."""
ROOMLESS_SECONDS = 600.0
"""How long a run waits for a node when the last that had room is gone."""


class WholeCluster:
    """All the room that there is, asked for anew as nodes come and go."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._asked_at, self._had_room_at = -math.inf, time.monotonic()
        self._room = 0

    def workers(self, trials: int) -> int:  # noqa: ARG002 - room is all that counts
        """As many as fit, up to what was asked for.

        Raises RuntimeError where none has fitted for ten minutes.
        """
        now = time.monotonic()
        if now - self._asked_at >= LOOK_SECONDS:
            self._asked_at = now
            self._room = sum(map(self._resources.room, nodes()))
        if self._room:
            self._had_room_at = now
        elif now - self._had_room_at > ROOMLESS_SECONDS:
            raise RuntimeError(
                f"no node of the cluster has had room for a worker of {self._resources} for "
                f"{ROOMLESS_SECONDS:.0f} s; results are recorded, the same command does the rest"
            )
        return min(self._room, self._resources.workers or self._room)
