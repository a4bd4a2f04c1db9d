"""Does the lane's interval hold on a loaded machine? ``python -m tests.benchmarks.lane``.

One trial's latency ratio is timed again and again, first as the machine is, then beside processes
that do nothing but compute, one for every core. Ten intervals from the loaded machine should cover
the median that the quiet one gave; each says for itself that it was disturbed. An interval of 96 %
misses now and then: nine of ten suffice.

Timed is as a sweep's worker with its one CPU times. ``--threads 2`` shows why: threads of one run
wait for each other in every operation, beside busy processes for a whole time slice, the same for
any number of tokens, and all ratios become 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from orchestrator.measurement.timing import run_timing
from sweeps.load import parse_sweep
from sweeps.plan import plan
from sweeps.timing import TimingResult, TimingSpec

SWEEP = """
name: lane
keep: [0.25]
measure: {{latency_pairs: {pairs}}}
workloads:
  digits:
    task: {{id: digits, num_examples: 8}}
    backbone: vit-digits
    methods: [tome]
    schedules: [one-layer]
"""
ENOUGH = 9
"""Intervals of ten that must cover the quiet value."""


def main() -> int:
    """Time, print a table, and return 1 if too few intervals cover."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    [planned] = plan(
        parse_sweep(SWEEP.format(pairs=arguments.pairs), str(Path("lane.yaml")))
    ).trials
    spec = TimingSpec(planned.spec, planned.spec.measure.batch)
    run_timing(spec)
    quiet = _repeated("quiet", spec, arguments.repetitions)
    with _busy(os.cpu_count() or 1):
        loaded = _repeated("loaded", spec, arguments.repetitions)
    value = statistics.median(each.times.latency or 0 for each in quiet if each.times)
    covering = sum(_covers(each, value) for each in loaded)
    wanted = ENOUGH * arguments.repetitions / 10
    print(f"\nquiet value {value:.3f}: covered by {covering} of {len(loaded)} loaded intervals")
    noticed = sum(bool(each.disturbed) for each in loaded)
    print(f"{noticed} of {len(loaded)} say that they were disturbed")
    return int(covering < wanted)


def _repeated(name: str, spec: TimingSpec, times: int) -> list[TimingResult]:
    print(f"\n{name:<8}{'ratio':>7}{'low':>8}{'high':>8}{'ms':>8}  others  load   disturbed")
    results = []
    for _ in range(times):
        results.append(run_timing(spec))
        _print(results[-1])
    return results


def _print(result: TimingResult) -> None:
    times, seen = result.times, result.conditions
    assert times, result.error
    numbers = (times.latency, times.latency_low, times.latency_high)
    ratio, low, high = (f"{each:.3f}" for each in numbers if each is not None)
    took = f"{1e3 * (times.latency_seconds or 0):.2f}"
    print(
        f"{'':<8}{ratio:>7}{low:>8}{high:>8}{took:>8}  {seen['others']:<7.2f}"
        f"{seen['load'][0]:<7.2f}{'; '.join(result.disturbed) or '-'}"
    )


def _covers(result: TimingResult, value: float) -> bool:
    times = result.times
    assert times
    assert times.latency_low is not None
    assert times.latency_high is not None
    return times.latency_low <= value <= times.latency_high


@contextmanager
def _busy(number: int) -> Iterator[None]:
    """Processes that only compute, ended with the block."""
    code = "while True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(number)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
