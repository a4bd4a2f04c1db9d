from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dashboards import ui
from dashboards.leftovers import clear_up
from dashboards.mlflow_pages import sweep_page
from dashboards.rows import stored_rows
from store.database import Database
from store.mirror.mlflow_mirror import MlflowMirror
from store.mirror.mlflow_words import EXPERIMENT
from store.repository import Store
from tests.browser import page
from tests.store import asked
from tests.store.examples import begin, spec

SCRIPT = "import sys; from dashboards.ui import serve_ui; serve_ui(sys.argv[1])"


@dataclass
class Running:
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def link(self, pattern: str) -> str:
        (found,) = re.findall(rf"{pattern}: (\S+)", self.output)
        return str(found)


@contextmanager
def served(url: str) -> Iterator[Running]:
    """``serve_ui`` in a process of its own, after it has printed its links."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert process.poll() is None, "".join(lines)
        yield Running(process, lines)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def mirrored_sweep(url: str) -> str:
    """A store with one sweep that MLflow knows; one of its trials, on the frontier."""
    with Store(url) as store:
        sweep = asked.record(store)
        store.end_sweep(sweep, 1.0, 0.9, {})
        rows = stored_rows(store, sweep)
        mirror = MlflowMirror(url)
        while mirror.drain():
            pass
        mirror.describe(sweep, sweep_page(store, sweep, rows, files=[], trial_tags={}))
        mirror.close()
    return next(row.point.trial for row in rows if row.on_frontier)


def assert_a_view_shows_points_and_filters(link: str) -> None:
    """In MLflow's own page: every trial is drawn, and a tag leaves those that carry it."""
    points = ".scatterlayer path.point"
    with page() as opened:
        opened.goto(link)
        opened.wait_for_function(f"document.querySelectorAll('{points}').length == 10")
        assert opened.get_by_text("Quality against cost").is_visible()
        assert opened.get_by_text("Parallel Coordinates").first.is_visible()
        search = opened.get_by_role("textbox", name=re.compile("filter", re.IGNORECASE)).or_(
            opened.get_by_placeholder(re.compile("metrics.rmse"))
        )
        before = search.first.input_value()
        assert before == "tags.sweep = 'asked' AND tags.workload = 'digits' AND tags.kind = 'trial'"
        search.first.fill(f"{before} AND tags.family = 'vision'")
        search.first.press("Enter")
        opened.wait_for_function(f"document.querySelectorAll('{points}').length == 4")


def offspring(pid: int) -> set[int]:
    """Processes below ``pid``, however deep."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    children: dict[int, list[int]] = {}
    for line in table.stdout.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    below: set[int] = set()
    waiting = [pid]
    while waiting:
        found = children.get(waiting.pop(), [])
        below.update(found)
        waiting += found
    return below


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return not state.stdout.startswith("Z")


@pytest.mark.parametrize("mirror_url", ["sqlite"], indirect=True)
def test_the_links_lead_to_the_sweeps_runs_and_nothing_survives_the_end(mirror_url: str) -> None:
    trial = mirrored_sweep(mirror_url)
    with served(mirror_url) as running:
        every, one = running.link("All trials"), running.link("Sweep asked")
        base, experiment = re.fullmatch(r"(http://.+)/#/experiments/(\d+)/runs", every).groups()  # type: ignore[union-attr]
        assert one.startswith(f"{every}/")
        with httpx.Client(base_url=f"{base}/api/2.0/mlflow", trust_env=False, timeout=30) as client:
            about = client.get("/experiments/get", params={"experiment_id": experiment}).json()
            found = client.post(
                "/runs/search",
                json={"experiment_ids": [experiment], "filter": f"tags.trial_id = '{trial}'"},
            ).json()
            run = client.get("/runs/get", params={"run_id": one.rsplit("/", 1)[1]}).json()
        assert about["experiment"]["name"] == EXPERIMENT
        (told,) = found["runs"]
        assert {"key": "on_frontier", "value": "true"} in told["data"]["tags"]
        assert run["run"]["info"]["run_name"] == "asked"
        numbers = {metric["key"] for metric in run["run"]["data"]["metrics"]}
        assert {"hypervolume/digits", "hypervolume/text"} <= numbers
        note = next(t for t in run["run"]["data"]["tags"] if t["key"] == "mlflow.note.content")
        assert "| tome | 0.5 |" in note["value"]
        assert_a_view_shows_points_and_filters(running.link("  digits"))
        with httpx.Client(trust_env=False, timeout=30) as client:
            assert client.get(base).text.lstrip().startswith("<!doctype html>")
            by_name = base.replace("127.0.0.1", "localhost")
            assert client.get(f"{by_name}/api/2.0/mlflow/experiments/search").status_code != 403
            foreign = {"Host": "attacker.example"}
            path = f"{base}/api/2.0/mlflow/experiments/search"
            assert client.get(path, headers=foreign).status_code == 403
        below = offspring(running.process.pid)
        assert len(below) >= 1
    assert running.process.returncode == 0
    assert not [pid for pid in below if alive(pid)]
    assert int(base.rsplit(":", 1)[1]) < 32768


def test_a_server_left_behind_is_ended_and_one_in_use_is_pointed_out(tmp_path: Path) -> None:
    """Stands in for MLflow's: a process group with the mark that servers carry."""
    url, other = f"sqlite:///{tmp_path}/paretoken.db", f"sqlite:///{tmp_path}/other.db"
    idle = "import time; time.sleep(600)"
    start = (
        "import os, subprocess, sys; from dashboards.leftovers import mark\n"
        f"subprocess.Popen([sys.executable, '-c', {idle!r}], start_new_session=True,\n"
        "    env={**os.environ, **mark(sys.argv[1])})\n"
        "print(os.getpid(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", start]
    with subprocess.Popen(
        [*command, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        starter.stdout.readline()
        (server,) = offspring(starter.pid)
        assert list(clear_up(other)) == []
        assert list(clear_up(url)) == [
            f"Another call (process {starter.pid}) shows this store already."
        ]
        starter.kill()
    (said,) = clear_up(url)
    assert said == f"Ended an MLflow server that an earlier call left behind (process {server})."
    assert not alive(server)
    assert list(clear_up(url)) == []


@pytest.mark.parametrize("mirror_url", ["sqlite"], indirect=True)
def test_a_server_that_dies_is_reported(mirror_url: str) -> None:
    mirrored_sweep(mirror_url)
    with served(mirror_url) as running:
        (server,) = (
            pid for pid in offspring(running.process.pid) if _parent(pid) == running.process.pid
        )
        os.kill(server, signal.SIGKILL)
        assert running.process.wait(60) == 1
        assert running.process.stderr is not None
        assert "mlflow server ended by itself with code -9" in running.process.stderr.read()


def _parent(pid: int) -> int:
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True)
    return int(found.stdout)


@pytest.mark.parametrize("make", [False, True], ids=["no file", "no sweep"])
def test_a_store_without_sweeps_is_refused_and_not_made(make: bool, tmp_path: Path) -> None:
    file = tmp_path / "paretoken.db"
    if make:
        with Database(f"sqlite:///{file}").write():
            pass
    with pytest.raises(ValueError, match="has no sweep yet; make one with: paretoken run FILE"):
        ui.serve_ui(f"sqlite:///{file}")
    assert file.exists() == make


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/paretoken.db"
    with Store(url) as store:
        begin(store, [spec()])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} on 127.0.0.1 cannot be used"):
            ui.serve_ui(url, port=port)


@pytest.mark.parametrize("mirror_url", ["postgresql"], indirect=True)
def test_a_password_is_not_to_be_seen_and_sigterm_ends_all(mirror_url: str) -> None:
    mirrored_sweep(mirror_url)
    with served(mirror_url.replace("postgres@", "postgres:s3cret@")) as running:
        below = offspring(running.process.pid)
        assert ":***@" in running.output
        assert "s3cret" not in running.output
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in below]
        assert any("mlflow" in command for command in commands)
        assert not any("s3cret" in command for command in commands)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
        assert not [pid for pid in below if alive(pid)]
