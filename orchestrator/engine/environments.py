"""Which interpreter measures a trial: our own, or that of an environment with another library."""

from __future__ import annotations

from collections.abc import Iterable

from methods import registry
from methods.kvpress import _environment
from sweeps.trial import TrialSpec


def by_interpreter(specs: Iterable[TrialSpec]) -> dict[str | None, list[TrialSpec]]:
    """Trials in their order, gathered by the interpreter that they need; None is the cluster's.

    Raises ValueError where there is none for some.
    """
    found: dict[str | None, list[TrialSpec]] = {}
    for spec in specs:
        found.setdefault(_interpreter(spec.method.id), []).append(spec)
    return found


def _interpreter(method_id: str) -> str | None:
    if registry.entry(method_id).method.environment is None:
        return None
    python = _environment.interpreter()
    if python is None:
        raise ValueError(f"no environment for {method_id}: {_environment.how_to_build()}")
    return python
