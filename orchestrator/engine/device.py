"""Which device this process computes on, and a lock on it that other processes respect.

A device is what two timings must not share: the CPU of a machine with all its cores, or one GPU.
The lock lies in a folder of the machine, so that it holds between sweeps that know nothing of each
other; the kernel takes it from a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import ray

FOLDER = "PARETOKEN_LANE_FOLDER"
"""Environment variable: where the sweeps of a machine meet, if not in its temporary folder."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def devices() -> tuple[str, ...]:
    """The devices of this worker, each by a name that no other device has."""
    machine = _machine()
    if not ray.get_gpu_ids():
        return (f"{machine}/cpu",)
    import torch

    return tuple(
        sorted(
            f"{machine}/gpu-{torch.cuda.get_device_properties(index).uuid}"
            for index in range(torch.cuda.device_count())
        )
    )


@contextmanager
def shared(names: tuple[str, ...]) -> Iterator[None]:
    """Use devices together with others, but with nobody who wants them alone."""
    with _locked(names, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(names: tuple[str, ...]) -> Iterator[None]:
    """Wait until nobody uses the devices, and keep everybody out."""
    with _locked(names, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(names: tuple[str, ...], how: int) -> Iterator[None]:
    """All locks in the order of their names, so that two processes cannot wait for each other.

    Who waits for a device keeps its gate: otherwise a stream of trials that overlap would keep a
    timing out for ever.
    """
    with ExitStack() as stack:
        for name in sorted(names):
            file = _file(name)
            with _held(f"{file}.gate", fcntl.LOCK_EX):
                stack.enter_context(_held(f"{file}.lock", how))
        yield


@contextmanager
def _held(path: str, how: int) -> Iterator[None]:
    with open(path, "a") as file:
        fcntl.flock(file, how)
        yield


def _file(name: str) -> Path:
    chosen = os.environ.get(FOLDER)
    user = f"paretoken-lane-{os.getuid()}"
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir(), user)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name.replace("/", "_")


def _machine() -> str:
    """The same for all containers and Ray nodes on a machine: they share its cores."""
    return _BOOT.read_text().strip() if _BOOT.exists() else platform.node()
