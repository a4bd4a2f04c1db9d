"""Run a sweep as a job of a remote cluster, through Ray's job server; nothing here needs a cluster.

The job is ``paretoken run`` on the head node: it plans, hands trials to workers on all nodes and
writes to the store, while whoever submitted it may come and go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.cluster.shipping import Cargo, modules
from store.url import STORE_FILE, sqlite_file

if TYPE_CHECKING:  # imported where it is used: with it comes Ray
    from ray.job_submission import JobDetails, JobSubmissionClient

OLDEST_RAY = (2, 60)
"""What pyproject.toml asks for."""
STOP_SECONDS = "60"
"""Between a cancelled job's SIGTERM and its SIGKILL; Ray's 3 s would cut off what is written."""
SWEEP = "paretoken_sweep"
"""Key of a job's metadata."""
KNOCK_SECONDS = 10
START_SECONDS = 60.0
"""How long a head that has just started may take until it accepts a job."""
NOT_YET = "No available agent"
"""Ray's words for that."""
Write = Callable[[str], object]


@dataclass(frozen=True)
class Job:
    """One of our jobs on a cluster."""

    id: str
    sweep: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str
    started_at: float | None
    """Seconds since 1970."""
    seconds: float | None
    """None while it runs."""
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


def require_shareable(store_url: str, address: str) -> str:
    """Refuse a SQLite file for a cluster elsewhere; returns a warning where the head may be here.

    Raises ValueError.
    """
    if sqlite_file(store_url) is None:
        return ""
    why = "a SQLite file cannot be shared between machines"
    way = "--store postgresql+psycopg://USER@HOST/DATABASE, or --store cluster"
    if _is_loopback(address):
        return f"{why}: right only if the head of {address} runs on this one; otherwise {way}"
    raise ValueError(f"{why}, and {address} is another one: {way}")


class JobServer:
    """The job server of a cluster's head node.

    Every method raises ValueError, in one sentence, where the server does not answer, refuses, or
    knows no such job.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _require_answer(self.address)
        with _sentences(self.address):
            self._client = _client(self.address)
        _require_version(self._client._server_ray_version or "", self.address)

    def submit(self, sweep: str, cargo: Cargo, options: Options) -> str:
        """Upload what is missing there and start the job; returns its id.

        A head that was started seconds ago takes no job yet and is asked again.
        """
        environment: dict[str, Any] = {
            "working_dir": str(cargo.folder),
            "excludes": list(cargo.excludes),
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS, **options.variables},
        }
        if options.ships_code:
            environment["py_modules"] = modules()
        command = [options.python, "-m", "orchestrator.cli", "run", cargo.sweep]
        submit = partial(
            self._client.submit_job,
            entrypoint=shlex.join([*command, "--address", "auto"]),
            submission_id=f"{sweep}-{secrets.token_hex(3)}",
            metadata={SWEEP: sweep},
            runtime_env=environment,
        )
        with _sentences(self.address):
            return _once_it_can(submit)

    def job(self, job_id: str) -> Job:
        """What is known of a job."""
        with _sentences(self.address, job_id):
            return _job(self._client.get_job_info(job_id))

    def jobs(self) -> list[Job]:
        """Our jobs, the newest first."""
        with _sentences(self.address):
            found = [_job(each) for each in self._client.list_jobs() if each.submission_id]
        return sorted(
            (job for job in found if job.sweep), key=lambda job: job.started_at or 0, reverse=True
        )

    def cancel(self, job_id: str) -> bool:
        """Ask a job to end, results that are in recorded; False if it had ended."""
        with _sentences(self.address, job_id):
            return bool(self._client.stop_job(job_id))

    def follow(self, job_id: str, write: Write) -> Job:
        """Write a job's log from its beginning until it ends; returns the job then.

        A connection that breaks is taken up again where it was. KeyboardInterrupt leaves the job
        alone.
        """
        written = 0
        while True:
            written = asyncio.run(self._tail(job_id, written, write))
            job = self.job(job_id)
            if job.ended:
                return job

    async def _tail(self, job_id: str, skip: int, write: Write) -> int:
        """Write what comes after ``skip`` characters; returns how many there are now."""
        seen = 0
        try:
            async for text in self._client.tail_job_logs(job_id):
                seen += len(text)
                if seen > skip:
                    write(text[-(seen - skip) :])
                    skip = seen
        except (RuntimeError, OSError):
            await asyncio.sleep(1)
        return skip


@dataclass(frozen=True)
class Options:
    """How a job runs."""

    store: bool
    """Whether the cargo says where the store is; otherwise the cluster's own environment does."""
    ships_code: bool = True
    """Whether our packages travel; otherwise the cluster's installation runs."""
    python: str = "python"
    """Interpreter on the head node."""

    @property
    def variables(self) -> dict[str, str]:
        """The job's environment; holds no secret."""
        store = {"PARETOKEN_STORE": "", "PARETOKEN_STORE_FILE": STORE_FILE} if self.store else {}
        artifacts = os.environ.get("PARETOKEN_ARTIFACTS")
        return {**store, **({"PARETOKEN_ARTIFACTS": artifacts} if artifacts else {})}


def _require_answer(address: str) -> None:
    """Ray itself would wait for minutes."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"address {address!r} is not that of a job server: write http://HEAD:8265")
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        socket.create_connection((parts.hostname, port), timeout=KNOCK_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ValueError(f"no Ray job server answers at {address}: {error}") from None


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _client(address: str) -> JobSubmissionClient:
    """Ray's client, which would prefer two variables to the address that it is given."""
    for variable in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(variable, None)
    os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk"):
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.ERROR)
    return JobSubmissionClient(address, headers=_token_of_this_machine(address))


def _token_of_this_machine(address: str) -> dict[str, str] | None:
    """Whoever has a cluster here need not say that it wants the token that it made.

    None goes elsewhere unless ``RAY_AUTH_MODE`` says so.
    """
    file = Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_MODE" in os.environ or not _is_loopback(address) or not file.is_file():
        return None
    return {"Authorization": f"Bearer {file.read_text(encoding='utf-8').strip()}"}


def _once_it_can(submit: Callable[[], Any]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return str(submit())
        except RuntimeError as error:
            if NOT_YET not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1.0)


@contextmanager
def _sentences(address: str, job_id: str = "") -> Iterator[None]:
    """What Ray and its HTTP library raise, as ValueError in a sentence."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ValueError(
            f"{address} wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to what "
            f"`ray get-auth-token` prints on the head ({str(error).splitlines()[0]})"
        ) from error
    except (ConnectionError, KeyError, requests.RequestException) as error:
        raise ValueError(f"no Ray job server answers at {address}: {error}") from error
    except RuntimeError as error:
        if "status code 404" in str(error) and job_id:
            raise ValueError(f"{address} knows no job {job_id!r}: `paretoken jobs`") from error
        raise ValueError(f"{address} refuses: {error}") from error


def _require_version(version: str, address: str) -> None:
    """Our code runs on the head's Ray."""
    import ray

    release = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if len(release) < 2 or release < OLDEST_RAY:
        wanted = ".".join(map(str, OLDEST_RAY))
        raise ValueError(
            f"{address} runs Ray {version or 'of an unknown release'}, and Paretoken needs "
            f"{wanted} or newer there (here is {ray.__version__})"
        )


def _job(details: JobDetails) -> Job:
    started, ended = details.start_time, details.end_time
    return Job(
        id=details.submission_id or details.job_id or "",
        sweep=(details.metadata or {}).get(SWEEP, ""),
        status=str(details.status.value),
        message=(details.message or "").strip(),
        started_at=started / 1000 if started else None,
        seconds=(ended - started) / 1000 if started and ended else None,
        exit_code=details.driver_exit_code,
    )
