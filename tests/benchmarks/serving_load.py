"""Does quality give way to load, and come back? ``python -m tests.benchmarks.serving_load``.

A server with a latency objective and a quality floor, measured as its callers see it. First the
best point alone is asked by a few clients without a pause: what it answers in a second is its
sustainable load. Then requests that leave the choice to the server come independently of each
other (Poisson, open loop: nobody waits for an answer before the next one asks): half of that load,
three times it, half of it again. Told are the latencies of every phase, failures, and the quality
that was given; ``--figure`` draws them over time.

The model is the shipped classifier of digits with wider feed-forward parts, see
:mod:`tests.benchmarks.serving_models`: with the shipped one the ingress, not the model, is what two
cores run out of.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx

from orchestrator.serving.points import QUALITY_HEADER
from orchestrator.serving.router import Router, Wish
from tests.benchmarks.serving_models import released
from tests.benchmarks.serving_process import server

EXAMPLES = 256
CLIENTS = 8
"""Who ask without a pause, to find the sustainable load."""
PHASES = (("half", 0.5), ("three times", 3.0), ("half again", 0.5))
SWEEP = "under-load"


@dataclass(frozen=True)
class Answered:
    """One request; times in seconds."""

    phase: str
    at: float
    """Since the first phase began."""
    latency: float
    status: int
    quality: float
    """Expected of the point that answered; 0 where none did."""


async def sustainable(client: httpx.AsyncClient, trial: str, seconds: float) -> float:
    """Answers of one point in a second, with :data:`CLIENTS` that never pause."""
    end, answers = time.monotonic() + seconds, 0

    async def ask() -> None:
        nonlocal answers
        while time.monotonic() < end:
            body = {"configuration": trial, "inputs": {"example": answers % EXAMPLES}}
            (await client.post("/v1/predict", json=body)).raise_for_status()
            answers += 1

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return answers / seconds


async def offered(
    client: httpx.AsyncClient, rates: Sequence[tuple[str, float]], seconds: float
) -> list[Answered]:
    """Every request of the phases, each so many seconds long."""
    draw, started, tasks = random.Random(7), time.monotonic(), []

    async def ask(phase: str, number: int) -> Answered:
        at = time.monotonic()
        body = {"inputs": {"example": number % EXAMPLES}}
        try:
            answer = await client.post("/v1/predict", json=body)
            status = answer.status_code
            quality = float(answer.headers.get(QUALITY_HEADER, 0))
        except httpx.TransportError:
            status, quality = 0, 0.0
        return Answered(phase, at - started, time.monotonic() - at, status, quality)

    due = started
    for number, (phase, rate) in enumerate(rates):
        end = started + (number + 1) * seconds
        while (due := due + draw.expovariate(rate)) < end:
            await asyncio.sleep(due - time.monotonic())
            tasks.append(asyncio.create_task(ask(phase, len(tasks))))
        due = end
    return list(await asyncio.gather(*tasks))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest that so many of the values do not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def summary(answers: Sequence[Answered], seconds: float) -> list[dict[str, Any]]:
    """A row for each phase."""
    rows = []
    for phase, _ in PHASES:
        own = [answer for answer in answers if answer.phase == phase]
        good = [answer for answer in own if answer.status == 200]
        latencies = [answer.latency * 1000 for answer in own]
        rows.append(
            {
                "phase": phase,
                "offered_per_second": len(own) / seconds,
                "failed": len(own) - len(good),
                "p50_ms": quantile(latencies, 0.5),
                "p99_ms": quantile(latencies, 0.99),
                "mean_quality": fmean(answer.quality for answer in good),
                "lowest_quality": min(answer.quality for answer in good),
            }
        )
    return rows


async def measure(
    address: str, best: str, calibration: float, seconds: float
) -> tuple[float, list[Answered]]:
    """The sustainable load, and every answer of the phases."""
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
        await sustainable(client, best, 2)
        rate = await sustainable(client, best, calibration)
        phases = [(phase, share * rate) for phase, share in PHASES]
        return rate, await offered(client, phases, seconds)


def draw(report: dict[str, Any], answers: Sequence[Answered], file: Path) -> None:
    """Offered load, p99 and quality over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    window = 2.0
    times = [window * n for n in range(int(max(a.at for a in answers) / window) + 1)]
    bins = [[a for a in answers if t <= a.at < t + window] for t in times]
    middles = [t + window / 2 for t in times]
    figure, (load, latency, quality) = plt.subplots(3, sharex=True, figsize=(8, 6))
    load.step(middles, [len(b) / window for b in bins], where="mid")
    load.axhline(report["sustainable"], color="grey", linestyle=":")
    load.set_ylabel("requests / s")
    load.set_title("dotted: what the best point can answer", fontsize=9, loc="right")
    latency.plot(middles, [quantile([a.latency * 1000 for a in b] or [0], 0.99) for b in bins])
    latency.axhline(report["latency_ms"], color="grey", linestyle=":")
    latency.set_ylabel("p99 (ms)")
    latency.set_ylim(bottom=0)
    latency.set_title("dotted: the objective", fontsize=9, loc="right")
    quality.plot([a.at for a in answers], [a.quality for a in answers], ".", ms=2, alpha=0.3)
    quality.step(middles, [fmean([a.quality for a in b] or [0]) for b in bins], where="mid")
    quality.axhline(report["min_quality"], color="grey", linestyle=":")
    quality.set_ylabel("quality")
    quality.set_xlabel("seconds")
    quality.set_title("dotted: the floor; dots: answers, line: their mean", fontsize=9, loc="right")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> int:
    """Measure, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency-ms", type=float, default=2000.0)
    parser.add_argument("--min-quality", type=float, default=0.9)
    parser.add_argument("--width", type=int, default=16384, help="units of a feed-forward part")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a phase")
    parser.add_argument("--calibration", type=float, default=10.0)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        release, url = released(Path(folder), SWEEP, arguments.width, [1.0, 0.2, 0.1, 0.05])
        best = Router(release).route(Wish()).configuration.trial
        level = ("--latency-ms", f"{arguments.latency_ms}")
        level += ("--min-quality", f"{arguments.min_quality}")
        with server(SWEEP, url, *level) as (address, _):
            rate, answers = asyncio.run(
                measure(address, best, arguments.calibration, arguments.seconds)
            )
    report = {
        "sustainable": rate,
        "latency_ms": arguments.latency_ms,
        "min_quality": arguments.min_quality,
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()},
        "phases": summary(answers, arguments.seconds),
    }
    if arguments.figure:
        draw(report, answers, arguments.figure)
    if arguments.json:
        print(json.dumps({**report, "answers": [asdict(a) for a in answers]}))
    else:
        print(json.dumps(report, indent=2))
    kept = all(
        row["p99_ms"] <= arguments.latency_ms
        and not row["failed"]
        and row["lowest_quality"] >= arguments.min_quality
        for row in report["phases"]
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
