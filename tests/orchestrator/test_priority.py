"""Two drivers on one cluster get workers by priority, and what one leaves behind the other gets."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import ray

from orchestrator.cluster.connection import cluster
from orchestrator.cluster.shares import ARBITER, NAMESPACE
from tests.orchestrator.cluster.test_connection import ROOT

PATIENCE_SECONDS = 400
"""A dozen processes are started here, which on a busy machine takes minutes."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Driver:
    """A process with a sweep of its own."""

    def __init__(self, name: str, folder: Path, weight: int) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        command = [sys.executable, "-m", "tests.orchestrator.sharing_driver"]
        arguments = [f"sqlite:///{folder}/{name}.db", str(self.folder)]
        address = ray.get_runtime_context().gcs_address
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*command, *arguments, address, str(weight)],
            cwd=ROOT,
            text=True,
            stdout=pipe,
            stderr=pipe,
        )

    @property
    def workers(self) -> int:
        """Those that it has; 0 once it is gone."""
        assert self.process.poll() is None, self.process.communicate()
        with suppress(FileNotFoundError, ValueError):
            return int(Path(f"{self.folder}.workers").read_text())
        return 0

    @property
    def begun(self) -> int:
        """Trials that it has started so far."""
        return len(list(self.folder.iterdir()))


@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_drivers_share_by_priority_and_inherit_what_others_leave(tmp_path: Path) -> None:
    with cluster(num_cpus=4):
        light = Driver("light", tmp_path, weight=1)
        drivers = [light]
        try:
            wait_until(lambda: light.workers == 4)
            heavy = Driver("heavy", tmp_path, weight=3)
            drivers.append(heavy)
            wait_until(lambda: (light.workers, heavy.workers) == (1, 3))
            before = light.begun, heavy.begun
            wait_until(lambda: heavy.begun >= before[1] + 90)
            assert 10 <= light.begun - before[0] <= 60

            light.process.terminate()
            output, errors = light.process.communicate(timeout=PATIENCE_SECONDS)
            assert output.split()[0] == "True", errors
            wait_until(lambda: heavy.workers == 4)

            heir = Driver("heir", tmp_path, weight=1)
            drivers.append(heir)
            wait_until(lambda: (heir.workers, heavy.workers) == (1, 3))
            heavy.process.kill()
            heavy.process.communicate()
            wait_until(lambda: heir.workers == 4)

            ray.kill(ray.get_actor(ARBITER, NAMESPACE))
            before = light.begun, heir.begun
            wait_until(lambda: heir.begun >= before[1] + 40)
            wait_until(lambda: heir.workers == 4)  # the file may be half written just now
        finally:
            for driver in drivers:
                driver.process.kill()
                driver.process.wait()
