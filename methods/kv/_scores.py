"""Hyperparameters that name another method, whose scores a method builds upon."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from methods import registry
from methods.base import ScoringMethod
from methods.contexts import CacheContext


def scoring_method(method_id: str) -> ScoringMethod[CacheContext]:
    """The method of that id with its default hyperparameters.

    Raises ValueError for an id that names no method which scores cache entries.
    """
    if method_id not in _scorers():
        raise ValueError(registry.unknown("scoring method", method_id, _scorers()))
    method = registry.build(method_id, {})
    assert isinstance(method, ScoringMethod)
    return method


def _scorers() -> list[str]:
    return [entry.id for entry in registry.entries().values() if _scores_entries(entry)]


def _scores_entries(entry: registry.MethodEntry) -> bool:
    method = entry.method
    if not issubclass(method, ScoringMethod) or "kv" not in entry.places:
        return False
    return entry.stands_alone and not method.needs_future


def _known(method_id: str) -> str:
    scoring_method(method_id)
    return method_id


ScoringId = Annotated[str, AfterValidator(_known)]
"""Id of a registered method that scores cache entries."""
