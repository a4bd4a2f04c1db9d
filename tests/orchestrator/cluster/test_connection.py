"""A private cluster comes and goes with its driver; an existing one is attached to by name only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from orchestrator.cluster.connection import cluster
from store.repository import Store
from tests.orchestrator.trials import specs

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 240


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def start_driver(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.orchestrator.driver", url, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def workers_of(folder: Path) -> set[int]:
    return {int(pid) for file in folder.glob("*") for pid in file.read_text().split()}


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "attempts").mkdir()
    return tmp_path / "attempts"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


def finished(url: str) -> set[str]:
    with Store(url) as store:
        return store.finished(spec.id for spec in planned(url))


def planned(url: str) -> list:  # type: ignore[type-arg]
    folder = Path(url.removeprefix("sqlite:///")).parent / "attempts"
    return specs(60, folder=str(folder), seconds=0.1)


def test_a_killed_driver_leaves_no_worker_and_the_next_run_finishes(url: str, folder: Path) -> None:
    driver = start_driver(url, folder)
    wait_until(lambda: len(list(folder.glob("*"))) >= 10)
    workers = workers_of(folder)
    assert any(map(lives, workers))
    driver.kill()
    driver.communicate()
    wait_until(lambda: not any(map(lives, workers_of(folder))))
    before = finished(url)
    assert 0 < len(before) < 60

    output, errors = start_driver(url, folder).communicate(timeout=PATIENCE_SECONDS)
    assert output.split() == ["False", "60"], errors
    assert len(finished(url)) == 60


def test_ctrl_c_in_a_terminal_reaches_everything_and_still_ends_cleanly(
    url: str, folder: Path
) -> None:
    driver = start_driver(url, folder)
    wait_until(lambda: len(list(folder.glob("*"))) >= 10)
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate(timeout=PATIENCE_SECONDS)
    interrupted, num_finished = output.split()
    assert interrupted == "True", errors
    assert int(num_finished) == len(finished(url)) < 60
    assert "Traceback" not in errors
    with Store(url) as store:
        assert store.failures("engine") == []


def test_starting_and_ending_a_cluster_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster(num_cpus=1):
        assert ray.cluster_resources()["CPU"] == 1
        with pytest.raises(ValueError, match="connected already"), cluster("127.0.0.1:6379"):
            pass
    assert not ray.is_initialized()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("address", "num_cpus", "sentence"),
    [
        ("127.0.0.1:9", None, "no Ray cluster answers at '127.0.0.1:9'"),
        ("ray://127.0.0.1:9", None, "'ray://127.0.0.1:9' is not a cluster; choices: 'auto' or"),
        ("somewhere", None, "address 'somewhere' is not a cluster"),
        ("127.0.0.1:9", 2, "num_cpus 2 can be given to a new cluster only"),
    ],
)
def test_an_address_that_cannot_be_attached_to_is_refused_in_a_sentence(
    address: str, num_cpus: int | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence), cluster(address, num_cpus):
        pass
