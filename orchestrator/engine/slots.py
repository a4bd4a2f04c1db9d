"""Memory: what a trial needs, and what one worker's share of this machine's device has."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from methods.backbones.registry import adapter_for
from store.comparison.prices import Prices
from sweeps import models
from sweeps.plan import PlannedTrial
from sweeps.spec import Resources
from sweeps.trial import AnyWeights, RandomWeights

PROCESS_BYTES: Final = 700_000_000
"""A worker before it holds a model, on a CPU: Python, torch, transformers."""
LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Need:
    """What the trials of a workload on one backbone need at most in one worker."""

    workload: str
    backbone: str
    trials: int
    weight_bytes: int | None
    """None where that cannot be told without loading the model."""
    peak_bytes: int | None
    """Largest forward pass of a past trial; None where there is none."""
    slot_bytes: int
    """What a worker has left for them."""

    @property
    def needed(self) -> int:
        """Bytes that are known to be needed."""
        return (self.weight_bytes or 0) + (self.peak_bytes or 0)

    @property
    def fits(self) -> bool:
        """Whether what is known fits."""
        return self.needed <= self.slot_bytes


def num_workers(resources: Resources, cpus: int | None = None) -> int:
    """Workers on this machine, where the sweep leaves it open."""
    if resources.workers != "auto":
        return resources.workers
    return max(1, int((cpus or os.cpu_count() or 1) / resources.cpus))


def slot_bytes(resources: Resources) -> int:
    """Memory of one worker for weights and activations."""
    if resources.gpus and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory * resources.gpus)
    return machine_bytes() // num_workers(resources) - PROCESS_BYTES


def machine_bytes() -> int:
    """Memory of this machine, or what its container may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        total = min(total, int(LIMIT.read_text()))
    return total


def needs(trials: Iterable[PlannedTrial], prices: Prices, resources: Resources) -> list[Need]:
    """One row per workload and backbone, in the plan's order."""
    cells: dict[tuple[str, str], list[PlannedTrial]] = {}
    for trial in trials:
        cells.setdefault((trial.workload, trial.spec.backbone.name), []).append(trial)
    slot = slot_bytes(resources)
    return [_need(*key, members, prices, slot) for key, members in cells.items()]


def _need(
    workload: str, backbone: str, members: list[PlannedTrial], prices: Prices, slot: int
) -> Need:
    task = members[0].spec.task.id
    known = [
        prices.memory(task, backbone, method)
        for method in {trial.spec.method.id for trial in members}
    ]
    held = max((each for each, _ in known if each), default=None)
    if held is None:
        held = weight_bytes(members[0].spec.backbone)
    peak = max((each for _, each in known if each), default=None)
    return Need(workload, backbone, len(members), held, peak, slot)


def weight_bytes(weights: AnyWeights) -> int | None:
    """Bytes of a model that nobody has measured; None for one of the hub that is not here."""
    if isinstance(weights, RandomWeights):
        return _drawn_bytes(weights)
    folder = models.folder(weights)
    if not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _drawn_bytes(weights: RandomWeights) -> int:
    """From the shape alone: nothing is allocated."""
    config = json.loads(weights.config)
    with torch.device("meta"):
        model = adapter_for(config).drawn(config, getattr(torch, weights.dtype), weights.seed).model
    parameters = {id(each): each.nbytes for each in model.parameters()}
    return sum(parameters.values())
