"""A device's lock holds between processes, and falls with the process that holds it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.engine import device
kind, folder, name = sys.argv[1:]
with getattr(device, kind)(("machine/cpu",)):
    Path(folder, name).touch()
    while not Path(folder, f"end-{name}").exists():
        time.sleep(0.01)
"""


class Holders:
    """Processes that want a device and say when they have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str, name: str) -> None:
        command = [sys.executable, "-c", HOLD, kind, str(self.folder), name]
        environment = {**os.environ, "PARETOKEN_LANE_FOLDER": str(self.folder)}
        self.processes[name] = subprocess.Popen(command, env=environment)

    def holds(self, name: str) -> bool:
        return (self.folder / name).exists()

    def end(self, name: str) -> None:
        (self.folder / f"end-{name}").touch()
        assert self.processes[name].wait() == 0


@pytest.fixture
def holders(tmp_path: Path) -> Iterator[Holders]:
    found = Holders(tmp_path)
    yield found
    for process in found.processes.values():
        process.kill()
        process.wait()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def test_whoever_wants_a_device_alone_waits_for_all_and_then_keeps_all_out(
    holders: Holders,
) -> None:
    for name in ("trial-1", "trial-2"):
        holders.start("shared", name)
    until(lambda: holders.holds("trial-1") and holders.holds("trial-2"))  # side by side
    holders.start("alone", "timing")
    until(lambda: (holders.folder / "machine_cpu.gate").exists())
    holders.end("trial-1")
    assert not holders.holds("timing")
    holders.end("trial-2")
    until(lambda: holders.holds("timing"))
    holders.start("shared", "late")
    time.sleep(0.3)
    assert not holders.holds("late")
    holders.processes["timing"].kill()  # the kernel gives the device back
    until(lambda: holders.holds("late"))
