"""What serving costs beside the model: ``python -m tests.benchmarks.serving_overhead``.

Our server and a bare Ray Serve deployment of the same model (a class that reads JSON, runs the
task and returns its answer, behind Ray Serve's own HTTP proxy), each in a cluster of its own, take
turns of about a second, so that whatever else the machine does meets both: p50 and answers in a
second, with one client and with 16. Then, of servers in processes of their own: seconds from the
start of `paretoken serve` to its first answer with four points, and memory of the process with the
models with one point and with four.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from orchestrator.serving.server import Address, served
from store.releases.release import Release
from tests.benchmarks.bare_server import bare_server
from tests.benchmarks.serving_models import released
from tests.benchmarks.serving_process import engine_bytes, free_port, server

SHIPPED_WIDTH = 192
"""Units of a feed-forward part of the classifier that ships: nothing is added."""
WIDE = 16_384
"""So that weights, 75 MB, stand out from everything else in a process."""
MOST_P50, LEAST_THROUGHPUT, MOST_START, MOST_GROWTH = 1.3, 0.8, 30.0, 0.5
REQUESTS = {1: 24, 16: 160}
"""Of a turn, by clients: about a second, so that both servers meet the same moment."""


@dataclass(frozen=True)
class Turn:
    """What one server did in one turn."""

    p50_ms: float
    per_second: float


def turn(address: str, body: dict[str, Any], clients: int, requests: int) -> Turn:
    """So many requests by so many clients that never pause."""

    def ask(client: httpx.Client) -> list[float]:
        seconds = []
        for number in range(requests // clients):
            asked = {**body, "inputs": {"example": number % 256}}
            started = time.perf_counter()
            client.post(address, json=asked).raise_for_status()
            seconds.append(time.perf_counter() - started)
        return seconds

    connections = [httpx.Client(timeout=60) for _ in range(clients)]
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        seconds = [second for part in threads.map(ask, connections) for second in part]
    wall = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return Turn(median(seconds) * 1000, len(seconds) / wall)


def pairs(release: Release, url: str, repeats: int) -> dict[str, list[Any]]:
    """Turns of both, one after the other, with 1 client and with 16."""
    (workload,) = release.workloads
    whole = next(c for c in workload.configurations if c.spec.keep_ratio == 1)
    found: dict[str, list[Any]] = {}
    with (
        bare_server(whole.spec) as bare,
        served(release, url, Address(port=free_port())) as (address, _),
    ):
        ours = f"{address}/v1/predict", {"configuration": whole.trial}
        theirs: tuple[str, dict[str, Any]] = (bare, {})
        for clients, requests in REQUESTS.items():
            for each in (ours, theirs):
                turn(*each, clients, requests)
            found[str(clients)] = [
                (turn(*ours, clients, requests), turn(*theirs, clients, requests))
                for _ in range(repeats)
            ]
    return found


def ratio(measured: list[Any], number: Callable[[Turn], float]) -> float:
    """Ours over theirs, the median over pairs."""
    return median(number(ours) / number(theirs) for ours, theirs in measured)


def start_and_memory(folder: Path, keep: list[float]) -> tuple[float, int]:
    """Seconds to the first answer, and bytes once every point has answered."""
    release, url = released(folder, "points", WIDE, keep)
    started = time.monotonic()
    with server("points", url) as (address, process):
        first = None
        for configuration in release.workloads[0].configurations:
            body = {"configuration": configuration.trial, "inputs": {"example": 1}}
            httpx.post(f"{address}/v1/predict", json=body, timeout=60).raise_for_status()
            first = first or time.monotonic() - started
        assert first is not None
        return first, engine_bytes(process)


def measured(folder: Path, repeats: int) -> dict[str, Any]:
    """Every number, beside what it may be."""
    release, url = released(folder / "pairs", "pairs", SHIPPED_WIDTH, [1.0, 0.2, 0.1, 0.05])
    found = pairs(release, url, repeats)
    _, alone = start_and_memory(folder / "one", [1.0])
    start, together = start_and_memory(folder / "four", [1.0, 0.2, 0.1, 0.05])
    weights = (folder / "four" / "grown" / "model.safetensors").stat().st_size
    return {
        "p50_ratio_1_client": ratio(found["1"], lambda t: t.p50_ms),
        "p50_ratio_16_clients": ratio(found["16"], lambda t: t.p50_ms),
        "throughput_ratio_1_client": ratio(found["1"], lambda t: t.per_second),
        "throughput_ratio_16_clients": ratio(found["16"], lambda t: t.per_second),
        "seconds_to_first_answer_4_points": start,
        "memory_growth_over_weights_1_to_4_points": (together - alone) / weights,
        "engine_megabytes": [alone / 2**20, together / 2**20],
        "pairs": {
            clients: [[vars(one) for one in pair] for pair in turns]
            for clients, turns in found.items()
        },
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()},
    }


def is_kept(report: dict[str, Any]) -> bool:
    """Whether every number is within its limit."""
    return (
        max(report["p50_ratio_1_client"], report["p50_ratio_16_clients"]) <= MOST_P50
        and min(report["throughput_ratio_1_client"], report["throughput_ratio_16_clients"])
        >= LEAST_THROUGHPUT
        and report["seconds_to_first_answer_4_points"] <= MOST_START
        and report["memory_growth_over_weights_1_to_4_points"] <= MOST_GROWTH
    )


def main() -> int:
    """Measure, print, and return 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    os.chdir(Path(__file__).parents[2])  # the replicas import this file from here
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("pairs", "one", "four"):
            (folder / part).mkdir()
        report = measured(folder, arguments.repeats)
    print(json.dumps(report, indent=2))
    return 0 if is_kept(report) else 1


if __name__ == "__main__":
    sys.exit(main())
