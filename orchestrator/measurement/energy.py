"""Energy of repeated runs, where a counter can be read: NVML on NVIDIA GPUs, RAPL on CPUs.

Counters move in steps of up to a tenth of a second, and RAPL counts the whole package, so that a
run is repeated for a second and nothing else may use the device meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

AT_LEAST_SECONDS: Final = 1.0
_POWERCAP = Path("/sys/class/powercap")
Counter = Callable[[], float]
"""Joules since some moment."""


def joules_of(run: Callable[[], Any], device: torch.device) -> float | None:
    """Joules of one run, or None where no counter can be read or it started over meanwhile."""
    counter = _counter(device)
    if counter is None:
        return None
    before, started, runs = counter(), time.perf_counter(), 0
    while time.perf_counter() - started < AT_LEAST_SECONDS:
        run()
        runs += 1
    used = counter() - before
    return used / runs if used > 0 else None


@cache
def _counter(device: torch.device) -> Counter | None:
    return _nvml(device) if device.type == "cuda" else _rapl(_POWERCAP)


def nvml_handle(device: torch.device) -> tuple[Any, Any] | None:
    """NVML and its handle of a GPU; None where pynvml is missing or NVML does not answer."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return None


def _nvml(device: torch.device) -> Counter | None:
    found = nvml_handle(device)
    if found is None:
        return None
    nvml, handle = found
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:  # older than Volta
        return None
    return lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


def _rapl(folder: Path) -> Counter | None:
    """The sum over CPU packages; on most systems only root may read it."""
    files = [
        file / "energy_uj" for file in sorted(folder.glob("intel-rapl:*")) if _is_package(file)
    ]
    try:
        readable = bool([int(file.read_text()) for file in files])
    except OSError:
        readable = False
    return (lambda: sum(int(file.read_text()) for file in files) / 1e6) if readable else None


def _is_package(zone: Path) -> bool:
    return zone.name.count(":") == 1
