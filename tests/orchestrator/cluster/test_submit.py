"""Sweeps travel to a cluster by its job server: a real head node, started for these tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from orchestrator.cluster.shipping import cargo
from orchestrator.cluster.submit import JobServer, require_shareable
from store.repository import Store
from sweeps.load import load_sweep
from tests.orchestrator.heads import PATIENCE_SECONDS, Head, head
from tests.postgres import PostgresServer

PASSWORD = "correct-horse"
SWEEP = """
name: {name}
keep: {keep}
measure: {{latency_pairs: 0}}
workloads:
  digits:
    task: {{id: digits, num_examples: {num_examples}}}
    backbone: {{hf: ../models/vit}}
    methods: [random]
    schedules: [one-layer]
"""
ELSEWHERE = "print('the installation of the cluster')\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head on which another version of our packages is installed."""
    folder = tmp_path_factory.mktemp("head")
    package = folder / "site" / "orchestrator"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(ELSEWHERE)
    # Ray's sockets lie there, and the path of a socket is short.
    with (
        TemporaryDirectory() as short,
        head(
            Path(short) / "ray", PYTHONPATH=str(package.parent), PARETOKEN_STORE="nowhere"
        ) as started,
    ):
        yield started


@pytest.fixture
def url(postgres: PostgresServer, postgres_mlflow_template: str) -> Iterator[str]:
    name = postgres.create(postgres_mlflow_template)
    yield postgres.url(name).replace("postgres@", f"postgres:{PASSWORD}@")
    postgres.drop(name)


@pytest.fixture
def checkout(tmp_path: Path, vit_folder: Path) -> Path:
    """A sweep file beside a folder of models."""
    (tmp_path / "sweeps").mkdir()
    shutil.copytree(vit_folder, tmp_path / "models" / "vit")
    return tmp_path


def write(checkout: Path, name: str, keep: str = "[1.0, 0.5]", num_examples: int = 8) -> Path:
    file = checkout / "sweeps" / f"{name}.yaml"
    file.write_text(SWEEP.format(name=name, keep=keep, num_examples=num_examples))
    return file


def start(command: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "orchestrator.cli", command, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        line, env={**os.environ, **variables}, text=True, stdout=pipe, stderr=pipe
    )


def run(command: str, *arguments: object, **variables: str) -> tuple[int, str, str]:
    process = start(command, *arguments, **variables)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


def test_a_sweep_travels_with_its_code_its_model_and_a_password_that_nobody_sees(
    cluster: Head, url: str, checkout: Path
) -> None:
    file = write(checkout, "travels")
    artifacts = {"PARETOKEN_ARTIFACTS": str(checkout / "artifacts")}
    code, out, err = run(
        "submit", file, "--address", cluster.jobs, "--store", url, "--detach", **artifacts
    )
    assert code == 0, err
    job = out.strip()
    assert job.startswith("travels-")
    code, log, err = run("attach", job, "--address", cluster.jobs)
    assert code == 0, log + err
    assert "travels: 2 trials = 0 reused + 2 measured" in log
    with Store(url) as store:
        assert len(store.points("travels")) == 2
    assert (checkout / "artifacts" / "figures" / "travels" / "frontier.html").is_file()

    code, table, err = run("jobs", "--address", cluster.jobs, "--json")
    [row] = json.loads(table)
    assert (row["id"], row["sweep"], row["status"]) == (job, "travels", "SUCCEEDED")
    details = str(JobServer(cluster.jobs)._client.get_job_info(job))
    logs = [path.read_bytes() for path in (cluster.folder / "session_latest" / "logs").rglob("*.*")]
    assert logs
    assert not any(PASSWORD in text for text in (out, err, log, table, details))
    assert not any(PASSWORD.encode() in content for content in logs)


def test_the_installation_of_the_cluster_runs_where_no_code_is_shipped(
    cluster: Head, checkout: Path
) -> None:
    code, log, err = run(
        "submit",
        write(checkout, "installed"),
        *("--address", cluster.jobs, "--store", "cluster", "--code", "installed"),
    )
    assert code == 0, err
    assert ELSEWHERE[7:-3] in log


def test_ctrl_c_detaches_and_cancel_ends_with_what_was_measured_recorded(
    cluster: Head, url: str, checkout: Path
) -> None:
    keep = str([round(0.2 + 0.002 * i, 4) for i in range(300)])
    file = write(checkout, "long", keep, num_examples=64)
    where = ("--address", cluster.jobs)
    watching = start("submit", file, *where, "--store", url)
    assert watching.stdout
    while " per second" not in (line := watching.stdout.readline()):
        assert line, watching.communicate()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=PATIENCE_SECONDS)
    assert watching.returncode == 130
    [back] = [line for line in err.splitlines() if line.startswith("paretoken attach long-")]
    job = back.split()[2]
    assert JobServer(cluster.jobs).job(job).status == "RUNNING"

    attached = start("attach", job, *where)
    code, _, err = run("cancel", job, *where)
    assert (code, err) == (0, f"job {job} is told to end\n")
    log, err = attached.communicate(timeout=PATIENCE_SECONDS)
    assert attached.returncode == 130
    assert "no trial starts any more" in log
    assert "STOPPED" in err
    with Store(url) as store:
        assert 0 < len(store.points("long")) < 300
        assert store.failures("long") == []


def test_a_head_that_cannot_serve_is_one_sentence(cluster: Head, checkout: Path) -> None:
    file = write(checkout, "nowhere")
    postgres = "postgresql://me:secret@db/results"
    for address, sentence in [
        ("127.0.0.1:8265", "'127.0.0.1:8265' is not that of a job server: write http://HEAD:8265"),
        ("http://127.0.0.1:9", "no Ray job server answers at http://127.0.0.1:9: "),
    ]:
        code, out, err = run("submit", file, "--address", address, "--store", postgres)
        assert (code, out) == (2, "")
        assert sentence in err
        assert len(err.splitlines()) == 1
    for command in ("attach", "cancel"):
        code, _, err = run(command, "nope", "--address", cluster.jobs)
        assert (code, err) == (
            2,
            f"paretoken: {cluster.jobs} knows no job 'nope': `paretoken jobs`\n",
        )


class _Answers(BaseHTTPRequestHandler):
    """Another program, or a head of another release."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            200,
            b'{"version": "4", "ray_version": "2.9.3"}',
            "runs Ray 2.9.3, and Paretoken needs 2.60",
        ),
        (200, b"<html>It works!</html>", "no Ray job server answers"),
        (401, b"Unauthorized", "wants a token: set RAY_AUTH_MODE=token"),
        (404, b"", "refuses: Version check returned 404"),
    ],
)
def test_another_server_or_release_is_one_sentence(status: int, body: bytes, sentence: str) -> None:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.answer = (status, body)  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ValueError, match=sentence):
            JobServer(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_sqlite_file_is_refused_for_another_machine_and_doubted_for_this_one() -> None:
    file = "sqlite:////home/me/results.db"
    with pytest.raises(ValueError, match=r"SQLite .* another one: --store postgresql\+psycopg"):
        require_shareable(file, "http://head:8265")
    assert "right only if the head" in require_shareable(file, "http://localhost:8265")
    assert require_shareable("postgresql+psycopg://me@db/x", "http://head:8265") == ""


def test_cargo_keeps_relative_paths_and_leaves_pickles_at_home(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "models" / "vit" / "pytorch_model.bin").write_bytes(b"0" * 100)
    spec = load_sweep(write(checkout, "packed"))
    with cargo(spec, "postgresql://me:secret@db/x") as packed:
        assert packed.sweep == "sweeps/packed.yaml"
        there = load_sweep(packed.folder / packed.sweep)
        assert (there.source.folder / "../models/vit/config.json").is_file()
        secret = packed.folder / ".paretoken-store"
        assert secret.stat().st_mode & 0o777 == 0o600
        assert "*.bin" in packed.excludes
    assert not packed.folder.exists()
    monkeypatch.setattr("orchestrator.cluster.shipping.LARGEST_CARGO", 10)
    with pytest.raises(ValueError, match=r"cannot travel .* name a hub id"), cargo(spec, None):
        pass
