"""Trials that fail in earnest: allocations that no machine grants, processes that end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import ray
import torch

from methods.infeasible import InfeasibleError
from orchestrator.engine.remedies import NODE_FAULTS
from orchestrator.measurement.failing import failure_of, state_of
from orchestrator.measurement.provenance import process_name
from sweeps.trial import Head, TrialResult, TrialSpec
from tests.orchestrator import trials

MORE_THAN_THERE_IS = 2**50
ALLOCATIONS: dict[int, Callable[[], object]] = {
    1: lambda: bytearray(MORE_THAN_THERE_IS),
    2: lambda: torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8),
    3: lambda: torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8),
}
"""By seed; seed 1 fits in small batches, 2 in small batches alone on the device, 3 never."""


def hungry(
    spec: TrialSpec, _head: Head | None = None, *, small_batches: bool = False
) -> TrialResult:
    """Leaves a line with start and end per attempt."""
    begun = time.time()
    attempt = len(lines(spec))
    try:
        time.sleep(0.1)
        if attempt < spec.seed and spec.seed in ALLOCATIONS:
            ALLOCATIONS[spec.seed]()
        assert not attempt or small_batches
        return trials.measure(spec)
    except Exception as error:
        return failed(spec, error)
    finally:
        _note(spec, f"{begun} {time.time()}")


def impossible(spec: TrialSpec) -> TrialResult:
    """Seed 3 does not fit."""
    _note(spec, "run")
    try:
        if spec.seed == 3:
            raise InfeasibleError("layer 13 does not exist: the model has 3 layers")
        return trials.measure(spec)
    except Exception as error:
        return failed(spec, error)


def deadly_here(spec: TrialSpec) -> TrialResult:
    """Every worker ends on the node that the link ``bad`` names, which is that of the first trial.

    On others no trial ends before as many workers have as a node may take down.
    """
    node = ray.get_runtime_context().get_node_id()
    bad, deaths = _folder(spec) / "bad", _folder(spec) / "deaths"
    with suppress(FileExistsError):
        bad.symlink_to(node)
    if os.readlink(bad) == node:
        with deaths.open("a") as file:
            file.write(".")
        os._exit(1)
    while not deaths.exists() or deaths.stat().st_size < NODE_FAULTS:
        time.sleep(0.02)
    _note(spec, node)
    return trials.measure(spec)


def failed(spec: TrialSpec, error: Exception) -> TrialResult:
    """What a runner makes of an exception."""
    found = failure_of(error)
    return TrialResult(
        trial_id=spec.id,
        state=state_of(found["failure"]),
        started_at=datetime.now(UTC),
        seconds=0.0,
        worker=process_name(),
        **found,
    )


def lines(spec: TrialSpec) -> list[str]:
    """What attempts at the trial left."""
    file = _folder(spec) / str(spec.seed)
    return file.read_text().splitlines() if file.exists() else []


def _note(spec: TrialSpec, line: str) -> None:
    with (_folder(spec) / str(spec.seed)).open("a") as file:
        file.write(f"{line}\n")


def _folder(spec: TrialSpec) -> Path:
    return Path(str(spec.method.params["folder"]))
