"""Start a private Ray cluster, or attach to one that was named."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray

OBJECT_STORE_BYTES = 100 * 2**20
"""Results are kilobytes; Ray's default of 30 % of memory is reserved for nothing, and it complains
where ``/dev/shm`` is small, as in most containers."""
ATTEMPTS = 4
START_TIMEOUT = "timed out during startup"
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the driver of a submitted job, which has its environment and may add no other."""


@contextmanager
def cluster(address: str | None = None, num_cpus: int | None = None) -> Iterator[None]:
    """Be connected to a Ray cluster inside the block.

    ``address`` None starts a cluster of this process on this machine, with ``num_cpus`` logical
    CPUs (None: as many as it has), that ends with the block; however this process ends, no worker
    outlives it by more than seconds. Never attaches to a cluster that merely happens to run.
    ``auto`` or ``host:port`` attaches to an existing cluster, whose workers receive this process's
    version of our packages.

    Raises ValueError where ``address`` leads nowhere or to other releases of Ray or Python, with
    ``num_cpus`` for an existing cluster, and in a process that is connected already; TimeoutError
    where a cluster of our own does not come up.
    """
    if ray.is_initialized():
        raise ValueError("this process is connected already; one cluster at a time")
    options = _local(num_cpus) if address is None else _existing(address, num_cpus)
    _be_quiet()
    try:
        _connect(options)
    except ConnectionError as error:
        hint = "" if address == "auto" else "; if it wants a token, set RAY_AUTH_MODE=token"
        raise ValueError(f"no Ray cluster answers at {address!r}: {error}{hint}") from error
    except RuntimeError as error:
        if "Version mismatch" not in str(error):
            raise
        releases = " ".join(str(error).split())
        raise ValueError(
            f"{address!r} cannot be attached to, `submit` may do: {releases}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _connect(options: dict[str, Any]) -> None:
    """Ray gives a node of its own 30 s to start; a busy machine may need them more than once."""
    before = _children()
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            ray.shutdown()
            _end(_children() - before)
            if START_TIMEOUT not in str(error):
                raise
            if not attempts_left:
                raise TimeoutError(
                    f"Ray did not start on this machine in {ATTEMPTS} attempts; is it overloaded?"
                ) from error
        else:
            return


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _end(processes: set[psutil.Process]) -> None:
    """What a node that did not come up has started, and would leave running beside the next."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _local(num_cpus: int | None) -> dict[str, Any]:
    return {
        "address": "local",
        "include_dashboard": False,
        "num_cpus": num_cpus,
        "object_store_memory": OBJECT_STORE_BYTES,
    }


def _existing(address: str, num_cpus: int | None) -> dict[str, Any]:
    if num_cpus is not None:
        raise ValueError(f"num_cpus {num_cpus} can be given to a new cluster only, not {address!r}")
    if address != "auto":
        _require_answer(address)
    if RAY_JOB in os.environ:
        return {"address": address}
    # A server's ingress, which needs no torch, imports this module.
    from orchestrator.cluster.shipping import modules

    return {"address": address, "runtime_env": {"py_modules": modules()}}


def _require_answer(address: str) -> None:
    """Ray itself would knock for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError(f"address {address!r} is not a cluster; choices: 'auto' or 'host:port'")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ValueError(f"no Ray cluster answers at {address!r}: {error}") from None


def _be_quiet() -> None:
    """Leave errors only.

    The note about tokens goes the same way: ``RAY_AUTH_MODE``, set after ``import ray``, would lock
    this process out of its own cluster.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
