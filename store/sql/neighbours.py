"""Statements that read what tells trials apart, and nothing wider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, String, Text, cast, select, type_coerce

from store.comparison.nearest import Facets, canonical
from store.models import Sweep, SweepTrial, Trial

_FACETS = (
    Trial.task,
    Trial.backbone,
    Trial.method,
    Trial.schedule,
    cast(Trial.hyperparameters, Text),
    Trial.keep_ratio,
    Trial.seed,
)


def facets(columns: Sequence[Any]) -> Facets:
    """From the last columns of these statements."""
    task, backbone, method, schedule, hyperparameters, keep_ratio, seed = columns
    text = canonical(hyperparameters)
    return Facets(task, backbone, method, schedule, text, keep_ratio, seed)


def planned(sweep_id: int) -> Select[*tuple[Any, ...]]:
    """Fields of :class:`store.comparison.difference.StoredTrial`, in no order, states as text."""
    state = type_coerce(Trial.state, String)
    return (
        select(
            SweepTrial.workload,
            SweepTrial.trial_id,
            SweepTrial.keep_label,
            SweepTrial.position,
            state,
        )
        .join(Trial, Trial.id == SweepTrial.trial_id)
        .where(SweepTrial.sweep_id == sweep_id)
    )


def trials(tasks: Iterable[str]) -> Select[*tuple[Any, ...]]:
    """Every trial of these tasks, those that finished first."""
    query = select(Trial.id, *_FACETS).where(Trial.task.in_(sorted(tasks)))
    return query.order_by(Trial.state.is_(None), Trial.state.desc(), Trial.id)


def sweeps(trial_ids: Sequence[str]) -> Select[str, str]:
    """Trial and name of every sweep that plans it."""
    return (
        select(SweepTrial.trial_id, Sweep.name)
        .join(Sweep, Sweep.id == SweepTrial.sweep_id)
        .where(SweepTrial.trial_id.in_(trial_ids))
        .distinct()
        .order_by(Sweep.name)
    )
