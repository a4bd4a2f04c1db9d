"""A few short trials, so that a plan without past trials has a price."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.engine.environments import by_interpreter
from orchestrator.measurement.trial import run_trial
from store.comparison.prices import Past
from sweeps.tasks import registry as tasks_registry
from sweeps.trial import TrialSpec

FEWEST = 8
"""Examples of the shorter of two runs; any task has as many."""


def probe(specs: Iterable[TrialSpec], log: Callable[[str], None]) -> list[Past]:
    """Times of the uncompressed model and one method for every task and backbone among ``specs``.

    Each runs three times in this process, with 8 examples, to load the model, with 8 and with 16;
    a straight line through the last two gives the time of all examples. Nothing is recorded.
    """
    found = []
    for spec in _representatives(specs):
        log(f"probing {spec.task.id} on {spec.backbone.name}: {spec.method.id}")
        past = _past(spec)
        if past is None:
            log("  failed; its time stays unknown")
        else:
            found.append(past)
    return found


def _representatives(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """The first trials of a task and backbone: in a plan the baseline, then one method."""
    chosen: dict[tuple[str, str], dict[str, TrialSpec]] = {}
    for spec in specs:
        here = chosen.setdefault((spec.task.id, spec.backbone.name), {})
        if len(here) < 2 and None in by_interpreter([spec]):
            here.setdefault(spec.method.id, spec)
    return [spec for here in chosen.values() for spec in here.values()]


def _past(spec: TrialSpec) -> Past | None:
    wanted = int(str(spec.task.params.get("num_examples", FEWEST)))
    _, few, more = (run_trial(_shortened(spec, n)) for n in (FEWEST, FEWEST, 2 * FEWEST))
    if few.metrics is None or more.metrics is None:
        return None
    each = max(0.0, more.seconds - few.seconds) / FEWEST
    seconds = few.seconds + each * max(0, wanted - FEWEST)
    return Past(
        task=spec.task.id,
        backbone=spec.backbone.name,
        method=spec.method.id,
        num_examples=wanted if spec.measure.quality else 0,
        count=1,
        seconds=seconds,
        squares=seconds**2,
        peak_bytes=few.metrics.peak_bytes,
        weight_bytes=few.metrics.weight_bytes,
    )


def _shortened(spec: TrialSpec, num_examples: int) -> TrialSpec:
    params = {**spec.task.params, "num_examples": num_examples}
    task = tasks_registry.build(spec.task.id, params)
    named = spec.task.model_copy(update={"params": params})
    return spec.model_copy(update={"task": named, "data": task.data_fingerprint()})
