"""What a plan costs before it runs: new and reused trials, time, GPU hours, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from orchestrator.engine.slots import needs, num_workers
from store.comparison.prices import Prices
from store.repository import Store
from sweeps.plan import Plan
from sweeps.spec import SweepSpec

USUAL_UTILISATION: Final = 0.9
START_SECONDS: Final = 10.0
"""Until Ray, workers and writer are ready."""


def price(
    spec: SweepSpec, planned: Plan, store: Store, log: Callable[[str], None] | None
) -> dict[str, Any]:
    """The price as plain rows.

    ``store`` is where past trials are. ``log`` None runs nothing; else trials for which there is no
    past are probed, and it is told about each.
    """
    specs = {trial.spec.id: trial.spec for trial in planned.trials}
    finished, ruled_out = store.finished(specs), store.infeasible(specs)
    settled = finished | ruled_out
    todo = [each for trial, each in specs.items() if trial not in settled]
    prices = Prices(store.past({each.task.id for each in todo}))
    if log is not None:
        prices = _probed(prices, todo, log)
    workers = num_workers(spec.resources)
    found = prices.of(todo, workers, spec.resources.gpus, _utilisation(store), START_SECONDS)
    open_trials = [trial for trial in planned.trials if trial.spec.id not in settled]
    memory = needs(open_trials, prices, spec.resources)
    return {
        "new": len(todo),
        "reused": len(finished),
        "num_impossible": len(planned.impossible) + len(ruled_out),
        "price": asdict(found),
        "memory": [{**asdict(need), "needed": need.needed, "fits": need.fits} for need in memory],
    }


def _probed(prices: Prices, todo: list[Any], log: Callable[[str], None]) -> Prices:
    from orchestrator.planning.probe import probe

    kinds = {(past.task, past.backbone) for past in prices.past}
    unknown = [each for each in todo if (each.task.id, each.backbone.name) not in kinds]
    return Prices([*prices.past, *probe(unknown, log)])


def _utilisation(store: Store) -> float:
    """What share of workers' time past sweeps used."""
    seen = [each.utilisation for each in store.sweeps() if each.utilisation]
    return median(seen) if seen else USUAL_UTILISATION
