"""Commands for a cluster elsewhere: ``submit``, ``attach``, ``cancel`` and ``jobs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dashboards.stderr import log
from orchestrator.commands.console import Json, show_rows, store_url

if TYPE_CHECKING:
    from orchestrator.cluster.submit import JobServer

INTERRUPTED = 130
Address = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Job server of the cluster's head node."),
]
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `submit` and `jobs` print it.")]


def submit(
    file: Annotated[Path, typer.Argument(help="The sweep file (YAML).")],
    address: Address = DEFAULT_ADDRESS,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="PARETOKEN_STORE",
            help="PostgreSQL URL that the head reaches, or `cluster`: PARETOKEN_STORE there.",
        ),
    ] = None,
    code: Annotated[
        Literal["ship", "installed"],
        typer.Option(help="ship: these packages travel; installed: run what the cluster has."),
    ] = "ship",
    python: Annotated[str, typer.Option(help="Interpreter on the head node.")] = "python",
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the log.")] = False,
) -> None:
    """Run a sweep on a cluster elsewhere. Ctrl-C leaves it running; `attach` comes back."""
    from orchestrator.cluster.shipping import cargo
    from orchestrator.cluster.submit import JobServer, Options, require_shareable
    from sweeps.load import load_sweep

    spec = load_sweep(file)
    url = None if store == "cluster" else store_url(store)
    warning = require_shareable(url, address) if url else ""
    server = JobServer(address)
    if warning:
        log(f"paretoken: {warning}")
    with cargo(spec, url) as packed:
        for folder in packed.elsewhere:
            log(f"paretoken: {folder} does not travel: every node needs it there")
        options = Options(store=url is not None, ships_code=code == "ship", python=python)
        job = server.submit(spec.name, packed, options)
    log(f"job {job} submitted to {server.address}")
    if detach:
        log(_way_back(server, job))
        sys.stdout.write(job + "\n")
        return
    _follow(server, job)


def attach(job: JobId, address: Address = DEFAULT_ADDRESS) -> None:
    """Follow a job's log, from its beginning to its end."""
    from orchestrator.cluster.submit import JobServer

    server = JobServer(address)
    server.job(job)
    _follow(server, job)


def cancel(job: JobId, address: Address = DEFAULT_ADDRESS) -> None:
    """End a job; results that are in are recorded, and submitting again does the rest."""
    from orchestrator.cluster.submit import JobServer

    server = JobServer(address)
    running = server.cancel(job)
    log(f"job {job} is told to end" if running else f"job {job} had ended already")


def jobs(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Sweeps that were submitted to a cluster, the newest first."""
    from dataclasses import asdict

    from dashboards.job_table import jobs_table
    from orchestrator.cluster.submit import JobServer

    rows = [asdict(job) for job in JobServer(address).jobs()]
    show_rows(as_json, rows, lambda: jobs_table(rows))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (submit, attach, cancel, jobs):
        app.command()(command)


def _follow(server: JobServer, job: str) -> None:
    """Exit as the sweep does."""
    try:
        ended = server.follow(job, _write)
    except KeyboardInterrupt:
        log(f"\njob {job} goes on without you\n{_way_back(server, job)}")
        raise typer.Exit(INTERRUPTED) from None
    if ended.status != "SUCCEEDED":
        log(f"job {job}: {ended.status}. {ended.message}")
    raise typer.Exit({"SUCCEEDED": 0, "STOPPED": INTERRUPTED}.get(ended.status, 1))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _way_back(server: JobServer, job: str) -> str:
    return (
        f"paretoken attach {job} --address {server.address}\n"
        f"paretoken cancel {job} --address {server.address}"
    )
