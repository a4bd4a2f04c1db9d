"""Prompts for the language models of the tests' release."""

from __future__ import annotations

from store.releases.release import Release, Workload
from sweeps.data import contexts

_DRAWN = contexts.stream("test", 8, 256, 12)
PROMPT: list[int] = [*_DRAWN.context[0].tolist(), *_DRAWN.question[0].tolist()]
"""A context and a question of the recall task."""


def workload(release: Release, name: str) -> Workload:
    """The workload of that name."""
    (found,) = (w for w in release.workloads if w.name == name)
    return found
