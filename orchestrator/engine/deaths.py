"""What Ray knows of a worker's death."""

from __future__ import annotations

from ray.exceptions import RayError

from sweeps.trial import FailureKind


def reason_of(error: RayError) -> str:
    """Why the worker died, without Ray's advice."""
    last = str(error).strip().splitlines()[-1]
    return last.rpartition("Worker exit detail: ")[2].partition(" Some common causes")[0]


def kind_of(reason: str) -> FailureKind:
    """The failure of a trial that a death with this reason ended."""
    memory = "memory pressure" in reason or "(OOM)" in reason
    return FailureKind.OUT_OF_MEMORY if memory else FailureKind.WORKER_DIED
