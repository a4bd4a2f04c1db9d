"""How large a cluster has to be for a release, by its own measured numbers.

A replica answers one forward pass at a time on its device. At a utilisation of r it serves r / s
requests per second, where s is the measured time of an example. Waiting lines grow as 1 / (1 - r)
(Kingman 1961), so that r stays well below 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from store.releases.release import Configuration, Release, Workload
from sweeps.trial import Metrics

UTILISATION: Final = 0.6
"""Share of the time that a replica is to work."""
PROCESS_BYTES: Final = 560 * 2**20
"""A replica's interpreter with torch and transformers: what a process of this project holds before
it has a model, as ``tests.benchmarks.serving_overhead`` measures it."""


@dataclass(frozen=True)
class Size:
    """What one point needs to answer a load alone."""

    workload: str
    configuration: Configuration
    seconds: float | None
    """Of an example, on the device that timed it; None where nothing did."""
    per_replica: float | None
    """Requests per second that one replica serves."""
    replicas: int | None
    bytes: int | None
    """That one replica holds: process, weights, caches and working memory of a batch; None where
    a part of it is only simulated."""

    @property
    def as_row(self) -> dict[str, Any]:
        """For tables and machines."""
        spec = self.configuration.spec
        return {
            "workload": self.workload,
            "trial": self.configuration.trial,
            "method": spec.method.id,
            "keep_ratio": spec.keep_ratio,
            "quality": self.configuration.quality,
            "seconds": self.seconds,
            "per_replica": self.per_replica,
            "replicas": self.replicas,
            "bytes": self.bytes,
        }


def sizes(release: Release, per_second: float, utilisation: float = UTILISATION) -> Iterator[Size]:
    """For every point of a release, in the release's order, at ``per_second`` > 0 requests.

    Raises ValueError for a load, or a utilisation, that is none.
    """
    if not per_second > 0:
        raise ValueError(f"a load is a number of requests per second above 0; got {per_second}")
    if not 0 < utilisation < 1:
        raise ValueError(f"a utilisation is between 0 and 1; got {utilisation}")
    for workload in release.workloads:
        for configuration in workload.configurations:
            yield _size(workload, configuration, per_second, utilisation)


def _size(
    workload: Workload, configuration: Configuration, per_second: float, utilisation: float
) -> Size:
    measured = configuration.measured
    seconds = measured.latency_seconds
    per_replica = None if seconds is None else utilisation / seconds
    return Size(
        workload.name,
        configuration,
        seconds,
        per_replica,
        None if per_replica is None else math.ceil(per_second / per_replica),
        _held(measured),
    )


def _held(measured: Metrics) -> int | None:
    parts = {name: getattr(measured, name) for name in ("weight_bytes", "peak_bytes", "kv_bytes")}
    if parts.keys() & set(measured.simulated):
        return None
    return PROCESS_BYTES + sum(part or 0 for part in parts.values())
