"""What else went on while something was timed: other work, clocks, heat.

Readings before and after are compared. What cannot be read on a machine is left out.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import torch

from orchestrator.measurement.energy import nvml_handle

OTHERS: Final = 0.1
"""Share of the machine's cores that other processes may use before it counts as a disturbance;
Ray's own processes stay below it."""
STOLEN: Final = 0.02
"""Share of the CPU time that a hypervisor may keep for others."""
SLOWER: Final = 0.9
"""A clock below this share of its rate before has dropped."""
_CPUS = Path("/sys/devices/system/cpu")
_HEAT = {0x20: "software", 0x40: "hardware"}
"""NVML's bits for clocks held down by heat."""


@dataclass
class Watch:
    """What was seen; complete once the block has ended."""

    conditions: dict[str, Any] = field(default_factory=dict)
    disturbed: tuple[str, ...] = ()


@contextmanager
def watched() -> Iterator[Watch]:
    """Note what happens around the block."""
    watch, before = Watch(), _Reading.now()
    yield watch
    after = _Reading.now()
    watch.conditions = _conditions(before, after)
    watch.disturbed = tuple(_disturbances(watch.conditions))


@dataclass(frozen=True)
class _Reading:
    """Counters at one moment; seconds of CPU time add up over cores."""

    at: float
    busy: float
    stolen: float
    own: float
    preempted: int
    """Times that this process had to leave a core."""
    throttled: int
    """Times that a core was slowed down by heat."""
    megahertz: float | None
    gpu: Mapping[str, Any]

    @classmethod
    def now(cls) -> _Reading:
        cpu, mine = psutil.cpu_times(), resource.getrusage(resource.RUSAGE_SELF)
        idle = cpu.idle + getattr(cpu, "iowait", 0.0)
        stolen = getattr(cpu, "steal", 0.0)
        guests = getattr(cpu, "guest", 0.0) + getattr(cpu, "guest_nice", 0.0)  # in user as well
        frequency = psutil.cpu_freq()
        return cls(
            at=time.perf_counter(),
            busy=sum(cpu) - idle - stolen - guests,
            stolen=stolen,
            own=mine.ru_utime + mine.ru_stime,
            preempted=mine.ru_nivcsw,
            throttled=_throttled(_CPUS),
            megahertz=round(frequency.current) if frequency else None,
            gpu=_gpu(),
        )


def _conditions(before: _Reading, after: _Reading) -> dict[str, Any]:
    seconds = max(after.at - before.at, 1e-9)
    others = after.busy - before.busy - (after.own - before.own)
    return {
        "seconds": round(seconds, 3),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "others": round(max(0.0, others / seconds), 3),
        "stolen": round(max(0.0, after.stolen - before.stolen) / seconds, 3),
        "preempted": after.preempted - before.preempted,
        "throttled": after.throttled - before.throttled,
        "megahertz": [before.megahertz, after.megahertz],
        **({"gpu": [before.gpu, after.gpu]} if after.gpu else {}),
    }


def _disturbances(seen: Mapping[str, Any]) -> Iterator[str]:
    cores = seen["cores"] or 1
    if seen["others"] > OTHERS * cores:
        yield f"other processes used {seen['others']:.2f} of {cores} cores"
        threads = seen["threads"]
        if threads > 1:  # then each operation lasts as long as the unluckiest thread waits
            yield f"{threads} threads waited for each other: time with resources {{cpus: 1}}"
    if seen["stolen"] > STOLEN * cores:
        yield f"the hypervisor took {seen['stolen']:.2f} of {cores} cores"
    if seen["throttled"]:
        yield "heat slowed a core down"
    first, last = seen["megahertz"]
    if first and last and last < SLOWER * first:
        yield f"the clock fell from {first:g} to {last:g} MHz"
    if "gpu" in seen:
        yield from _gpu_disturbances(*seen["gpu"])


def _gpu_disturbances(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    others = max(before["others"], after["others"])
    if others:
        yield f"{others} other processes on the GPU"
    for bit, name in _HEAT.items():
        if (before["throttle"] | after["throttle"]) & bit:
            yield f"heat slowed the GPU down ({name})"
    if after["megahertz"] < SLOWER * before["megahertz"]:
        yield f"the GPU's clock fell from {before['megahertz']} to {after['megahertz']} MHz"


def _throttled(folder: Path) -> int:
    files = folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    return sum(int(file.read_text()) for file in files)


def _gpu() -> dict[str, Any]:
    """Clocks, causes of throttling and co-tenants of this process's GPU; empty if unreadable."""
    if not torch.cuda.is_available():
        return {}
    found = nvml_handle(torch.device("cuda", torch.cuda.current_device()))
    if found is None:
        return {}
    nvml, handle = found
    try:
        pids = {each.pid for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        return {
            "others": max(0, len(pids) - 1),  # containers see this process by another number
            "megahertz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "throttle": nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
            "celsius": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        }
    except nvml.NVMLError:
        return {}
