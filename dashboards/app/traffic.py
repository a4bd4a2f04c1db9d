"""What a running server says of itself: its release, and what each point has answered."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_TIMEOUT_S: Final = 2.0
Point = tuple[str, str]
"""Workload and trial."""


@dataclass
class Counts:
    """Of one point since the server started."""

    requests: float = 0
    refused: float = 0
    errors: float = 0
    tokens_in: float = 0
    tokens_kept: float = 0
    tokens_out: float = 0
    seconds: dict[float, float] = field(default_factory=dict)
    """Requests that took at most so long, by that time; the last is infinity."""

    def quantile(self, share: float) -> float | None:
        """Seconds within which this share of the requests was answered, between buckets' ends.

        None without a request.
        """
        ends = sorted(self.seconds)
        total = self.seconds[ends[-1]] if ends else 0
        before_s, before = 0.0, 0.0
        for end in ends:
            count = self.seconds[end]
            if total and count >= share * total:
                inside = (share * total - before) / (count - before) if count > before else 1.0
                return before_s + (min(end, 2 * before_s or end) - before_s) * inside
            before_s, before = end, count
        return None


@dataclass(frozen=True)
class Snapshot:
    """A server at one moment."""

    release: dict[str, Any]
    """As ``/v1/frontier`` answers."""
    counts: dict[Point, Counts]
    shares: dict[str, float]
    """What each release gets of the requests that name none, by its number."""
    refused_early: float
    """Requests that were refused before a point was chosen."""
    at: float
    """On a clock that only grows."""


def read(url: str) -> Snapshot:
    """Ask a server on this machine. Raises ValueError in words for people where that fails."""
    base = checked(url)
    try:
        with httpx.Client(base_url=base, timeout=_TIMEOUT_S, trust_env=False) as client:
            release = client.get("/v1/frontier").raise_for_status().json()
            metrics = client.get("/metrics").raise_for_status().text
    except httpx.HTTPStatusError as error:
        asked = "it asks for an API key" if error.response.status_code == 401 else str(error)
        raise ValueError(f"{base} does not answer as a Paretoken server: {asked}") from None
    except (httpx.HTTPError, ValueError):
        raise ValueError(
            f"nothing answers at {base}; start a server with: paretoken serve SWEEP"
        ) from None
    return parsed(release, metrics)


def checked(url: str) -> str:
    """The address without its path. Raises ValueError unless it is on this machine."""
    parts = urlsplit(url.strip() if "//" in url else f"http://{url.strip()}")
    if parts.scheme not in ("http", "https") or parts.hostname not in _LOOPBACK:
        raise ValueError(f"{url!r} is not a server on this machine, such as http://127.0.0.1:8000")
    return f"{parts.scheme}://{parts.netloc}"


def parsed(release: dict[str, Any], metrics: str) -> Snapshot:
    """From the two answers."""
    counts: dict[Point, Counts] = defaultdict(Counts)
    shares = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "paretoken_share":
                shares[sample.labels["release"]] = sample.value
            if "point" in sample.labels:
                point = sample.labels["workload"], sample.labels["point"]
                _add(counts[point], sample.name, sample.labels, sample.value)
    early = sum(each.refused for (_, trial), each in counts.items() if not trial)
    chosen = {point: each for point, each in counts.items() if point[1]}
    return Snapshot(release, chosen, shares, early, time.monotonic())


def _add(counts: Counts, name: str, labels: dict[str, str], value: float) -> None:
    own = name.removeprefix("paretoken_").removesuffix("_total")
    if own == "request_seconds_bucket":
        end = float(labels["le"])
        counts.seconds[end] = counts.seconds.get(end, 0.0) + value
    elif own in ("requests", "refused", "errors", "tokens_in", "tokens_kept", "tokens_out"):
        setattr(counts, own, getattr(counts, own) + value)
