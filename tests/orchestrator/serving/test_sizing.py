"""A load takes as many replicas as the measured times say."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from dashboards.size_tables import sizes_table
from orchestrator.releases.sizing import PROCESS_BYTES, sizes
from store.releases.release import Release
from tests.orchestrator.serving.texts import workload


def timed(release: Release, seconds: float) -> Release:
    """The release's language model, each point at so many seconds for an example."""
    texts = workload(release, "bytes")
    points = tuple(
        c.model_copy(
            update={"measured": c.measured.model_copy(update={"latency_seconds": seconds})}
        )
        for c in texts.configurations
    )
    return release.model_copy(
        update={"workloads": (texts.model_copy(update={"configurations": points}),)}
    )


def test_replicas_follow_from_time_load_and_utilisation(release) -> None:
    for size in sizes(timed(release, 0.02), per_second=100, utilisation=0.5):
        assert size.per_replica == pytest.approx(25)
        assert size.replicas == 4
        measured = size.configuration.measured
        assert size.bytes == PROCESS_BYTES + measured.weight_bytes + measured.peak_bytes + (
            measured.kv_bytes or 0
        )
    assert [s.replicas for s in sizes(timed(release, 0.02), 101, 0.5)] == [5, 5]


def test_what_was_not_timed_is_not_guessed(release) -> None:
    found = list(sizes(release, per_second=100))
    assert len(found) == len(release.configurations)
    assert {(size.seconds, size.replicas) for size in found} == {(None, None)}


def test_memory_that_is_only_simulated_sizes_nothing(release) -> None:
    texts = workload(timed(release, 0.02), "bytes")
    pretending = texts.configurations[0].measured.model_copy(update={"simulated": ["peak_bytes"]})
    points = (texts.configurations[0].model_copy(update={"measured": pretending}),)
    served = texts.model_copy(update={"configurations": points})
    (size,) = sizes(release.model_copy(update={"workloads": (served,)}), per_second=100)
    assert size.bytes is None
    console = Console(width=120, record=True, file=StringIO())
    console.print(sizes_table([size.as_row], 100))
    assert "simulated" in console.export_text()


@pytest.mark.parametrize(("per_second", "utilisation"), [(0, 0.5), (-1, 0.5), (1, 0), (1, 1)])
def test_loads_that_are_none_are_refused(release, per_second, utilisation) -> None:
    with pytest.raises(ValueError, match="got"):
        list(sizes(release, per_second, utilisation))
