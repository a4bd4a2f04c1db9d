"""What must hold before a release is served: it is still what was measured."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.measurement.models import build_method, build_task
from store.releases.release import Release
from sweeps.models import unchanged
from sweeps.trial import TrialSpec


def require_current(release: Release) -> None:
    """Compare code versions, data and weights with those of the trials.

    Raises ValueError that names what changed; the measured numbers would be about something else.
    """
    changes = sorted({change for c in release.configurations for change in _changes(c.spec)})
    if changes:
        raise ValueError(
            f"sweep {release.sweep!r} was measured with {', '.join(changes)}; run it again"
        )


def _changes(spec: TrialSpec) -> Iterator[str]:
    task = build_task(spec)
    if task.version != spec.task.version or task.data_fingerprint() != spec.data:
        yield f"other examples of task {spec.task.id!r}"
    if build_method(spec).revision != spec.method.version:
        yield f"version {spec.method.version} of method {spec.method.id!r}"
    if not unchanged(spec.backbone):
        yield f"other weights of {spec.backbone.name!r}"
