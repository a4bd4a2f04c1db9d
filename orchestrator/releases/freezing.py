"""Writes a frontier down as a release that never changes."""

from __future__ import annotations

from collections.abc import Sequence

from methods.naming import unknown
from store.questions.names import is_named
from store.releases.ledger import Frozen, Ledger, Signed
from store.releases.release import Configuration, Release, release_of
from store.repository import Store


def freeze(
    store: Store, ledger: Ledger, sweep: str, points: Sequence[str], signed: Signed
) -> tuple[Frozen, bool]:
    """The frontier of a sweep as it is now, or these points of it; False: it was frozen before.

    Points are the beginnings of trial ids, or ``METHOD@KEEP``, which may name several. Raises
    ValueError for a sweep that cannot be served and for points that are not on its frontier.
    """
    from orchestrator.measurement.environment import environment

    release = chosen(release_of(store, sweep), points)
    return ledger.freeze(sweep, release.model_dump(mode="json"), environment(), signed)


def chosen(release: Release, points: Sequence[str]) -> Release:
    """The release with these points alone; all of them where none is named."""
    if not points:
        return release
    for point in points:
        if not any(_is(point, c) for c in release.configurations):
            names = {name for c in release.configurations for name in (c.trial, _label(c))}
            raise ValueError(unknown("point of the frontier", point, names))
    workloads = []
    for workload in release.workloads:
        kept = tuple(c for c in workload.configurations if any(_is(p, c) for p in points))
        if kept:
            workloads.append(workload.model_copy(update={"configurations": kept}))
    return release.model_copy(update={"workloads": tuple(workloads)})


def _is(point: str, configuration: Configuration) -> bool:
    spec = configuration.spec
    return is_named(point, spec.method.id, spec.keep_ratio, [configuration.trial])


def _label(configuration: Configuration) -> str:
    return f"{configuration.spec.method.id}@{configuration.spec.keep_ratio:g}"
