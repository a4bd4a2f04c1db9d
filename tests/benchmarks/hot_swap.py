"""Releases that follow each other while clients keep asking: requests lost, and the tail's growth.

``python -m tests.benchmarks.hot_swap``: a real server, 8 clients in a closed loop, 20 releases.
What is compared was taken in one run: quiet seconds before, between and after the releases, and the
seconds in which they came.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from orchestrator.releases.freezing import chosen
from orchestrator.serving.points import RELEASE_HEADER
from store.releases.ledger import Ledger
from store.releases.line import Step
from store.releases.release import Release, release_of
from tests.benchmarks.serving_process import server
from tests.measured import measured_store
from tests.orchestrator.serving.rollouts import passed, take

SWEEP = """
name: hot-swap
measure: {what: [quality, cost], latency_batch: 8}
keep: [1.0, 0.5, 0.25]
workloads:
  digits:
    task: {id: digits, num_examples: 64, batch_size: 32}
    backbone: vit-digits
    methods: [identity, tome]
"""
ASKED = {"workload": "digits", "inputs": {"example": 7}, "max_cost": 0.6}
SETTLE_SECONDS = 2.0


@dataclass
class Clients:
    """Some that ask for one example again and again."""

    url: str
    count: int
    taken: list[tuple[float, float]] = field(default_factory=list)
    """When an answer came, and how long it took, in seconds."""
    statuses: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """They ask for the length of the block."""
        with ThreadPoolExecutor(self.count) as threads:
            running = [threads.submit(self._ask) for _ in range(self.count)]
            try:
                yield
            finally:
                self._over.set()
            for each in running:
                each.result()

    def between(self, start: float, stop: float) -> list[float]:
        """Seconds of the answers that came then."""
        return [seconds for at, seconds in self.taken if start <= at < stop]

    def _ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while not self._over.is_set():
                began = time.perf_counter()
                try:
                    status = str(client.post("/v1/predict", json=ASKED).status_code)
                except httpx.TransportError as error:
                    status = type(error).__name__
                ended = time.perf_counter()
                self.taken.append((ended, ended - began))
                self.statuses[status] += 1


def swapped(ledger: Ledger, release: Release, numbers: list[int], step: int, url: str) -> float:
    """Take the next release and wait until it answers; seconds from its step to then."""
    number = numbers[step % len(numbers)]
    began = time.perf_counter()
    take(ledger, release.sweep, number, Step.ACTIVE)
    while httpx.post(f"{url}/v1/predict", json=ASKED, timeout=60).headers[RELEASE_HEADER] != (
        f"{release.sweep}@{number}"
    ):
        time.sleep(0.02)
    return time.perf_counter() - began


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds before and after")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = measured_store(Path(folder), SWEEP)
        release, ledger = release_of(store, "hot-swap"), Ledger(store.url)
        cheap = [c.trial for c in release.configurations if c.measured.flops < 0.6]
        numbers = [passed(ledger, each) for each in (release, chosen(release, cheap))]
        with server(release.sweep, store.url) as (url, _):
            clients = Clients(url, options.clients)
            with clients.asking():
                time.sleep(SETTLE_SECONDS)
                begun = time.perf_counter()
                time.sleep(options.quiet)
                first = time.perf_counter()
                took = [
                    swapped(ledger, release, numbers, step, url) for step in range(options.releases)
                ]
                last = time.perf_counter()
                time.sleep(options.quiet)
                ended = time.perf_counter()
        ledger.close()
    quiet = clients.between(begun, first) + clients.between(last, ended)
    busy = clients.between(first, last)
    print(
        f"\n{options.clients} clients, {options.releases} releases; "
        f"answers: {dict(clients.statuses)}"
    )
    print(f"a release answers after {np.median(took):.2f} s (at most {max(took):.2f} s)\n")
    print("| | requests | p50 ms | p99 ms |\n| --- | --- | --- | --- |")
    for name, seconds in (("quiet", quiet), ("releases", busy)):
        p50, p99 = 1000 * np.quantile(seconds, (0.5, 0.99))
        print(f"| {name} | {len(seconds)} | {p50:.1f} | {p99:.1f} |")
    print(f"\np99 with releases / quiet: {np.quantile(busy, 0.99) / np.quantile(quiet, 0.99):.2f}")


if __name__ == "__main__":
    main()
