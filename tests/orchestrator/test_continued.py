"""A trial that goes on from a shorter one gives the bits of the trial measured whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from methods.registry import entry
from methods.schedule import Uniform
from orchestrator.measurement import trial as module
from orchestrator.measurement.trial import run_trial
from sweeps.models import open_reference
from sweeps.rungs import shortened
from sweeps.tasks import registry as tasks_registry
from sweeps.times import TIME_METRICS
from sweeps.trial import Head, MeasureSpec, Named, TrialSpec

UNTIMED = MeasureSpec(latency_pairs=0)


def trial(backbone: str, method: str, keep: float, **task: Any) -> TrialSpec:
    name = task.pop("id")
    built = tasks_registry.build(name, task)
    chosen = entry(method).method()
    return TrialSpec(
        task=Named(id=name, version=built.version, params=built.model_dump(mode="json")),
        data=built.data_fingerprint(),
        backbone=open_reference(backbone, 0).weights,
        method=Named(id=method, version=chosen.revision, params=chosen.model_dump(mode="json")),
        schedule=Uniform() if method == "identity" else chosen.home,
        keep_ratio=keep,
        seed=0,
        measure=UNTIMED,
    )


def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that are evaluated from now on."""
    sizes: list[int] = []
    judge = module._outcomes

    def counting(backbone: Any, task: Any, batch: Any) -> list[float]:
        sizes.append(len(batch))
        return judge(backbone, task, batch)

    monkeypatch.setattr(module, "_outcomes", counting)
    return sizes


@pytest.mark.parametrize(
    ("backbone", "method", "keep", "task", "expected"),
    [
        ("vit-digits", "tome", 0.25, {"id": "digits", "batch_size": 8}, [8, 8]),
        ("llama-text", "knorm", 0.1, {"id": "text", "batch_size": 8}, [8, 8]),
        # a batch cut short by the head is evaluated again
        ("vit-digits", "tome", 0.25, {"id": "digits", "batch_size": 6}, [6, 6, 6]),
        # what a batch gives depends on those before it
        ("llama-recall", "random", 0.5, {"id": "recall", "batch_size": 8}, [8, 8, 8, 8, 8]),
        ("clip-scenes", "tca", 0.5, {"id": "zero-shot", "batch_size": 8}, [8, 8, 8, 8, 8]),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_bits_are_those_of_the_trial_measured_whole(
    backbone: str,
    method: str,
    keep: float,
    task: dict[str, Any],
    expected: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = trial(backbone, method, keep, **task, num_examples=24)
    run_trial(shortened(whole, 9))  # what a process makes once is made now
    short = run_trial(shortened(whole, 8))
    measured = run_trial(whole)
    assert short.metrics is not None, short
    assert measured.metrics is not None, measured
    sizes = evaluated(monkeypatch)
    timed = short.metrics.model_copy(update={"latency": 0.5, "latency_pairs": 9, "energy": 0.4})
    continued = run_trial(whole, Head(timed, short.outcomes))
    assert sizes == expected
    assert continued.outcomes == measured.outcomes
    assert continued.clusters == measured.clusters
    assert continued.metrics is not None
    assert continued.metrics.model_dump(exclude=set(TIME_METRICS)) == measured.metrics.model_dump(
        exclude=set(TIME_METRICS)
    )
    assert continued.metrics.latency is continued.metrics.latency_pairs is None
    assert continued.metrics.energy is None, "the head's times are the head's"
    assert dataclasses.replace(continued, seconds=0).trial_id == whole.id


def test_a_trial_that_is_shortened_to_itself_is_itself() -> None:
    whole = trial("vit-digits", "tome", 0.25, id="digits", num_examples=24)
    assert shortened(whole, 24).id == whole.id
    assert shortened(shortened(whole, 8), 24).id == whole.id
    assert shortened(whole, 8).id != whole.id
    assert shortened(whole, 8).task.params["num_examples"] == 8
