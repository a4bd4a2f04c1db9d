"""What a run is called in MLflow: names, tags and parameters, without MLflow itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.trial import TrialSpec

EXPERIMENT = "paretoken"
"""Every sweep of a store is in it."""
PARENT_TAG = "mlflow.parentRunId"
"""How MLflow nests runs."""
ON_FRONTIER = "on_frontier"
NOTE_TAG = "mlflow.note.content"
"""What MLflow shows as the description of a run."""
VIEW_TAG = "mlflow.sharedViewState."
"""Tags of an experiment that hold views, by the key in a link."""

_LONGEST = 2000
"""Characters of an error that are shown; the store has all of them."""


@dataclass(frozen=True)
class Label:
    """What the user called a trial's place in the sweep."""

    workload: str
    keep: str


def view_key(sweep: str, workload: str) -> str:
    """What a link to the view of a workload carries."""
    named = json.dumps(["paretoken", sweep, workload])
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def run_name(spec: TrialSpec, label: Label | None) -> str:
    """A trial's run, readable in a list."""
    keep = label.keep if label else f"{spec.keep_ratio:g}"
    return f"{spec.method.id} {keep} {spec.schedule.label} seed {spec.seed}"


def sweep_tags(sweep: str) -> dict[str, str]:
    """Tags that find a sweep's run again."""
    return {"kind": "sweep", "sweep": sweep}


def trial_tags(spec: TrialSpec, sweep: str, label: Label | None) -> dict[str, str]:
    """Tags that find a trial's run again, and those that people group by."""
    return {
        "kind": "trial",
        "sweep": sweep,
        "trial_id": spec.id,
        **({"workload": label.workload} if label else {}),
        "task": spec.task.id,
        "backbone": spec.backbone.name,
        "method": spec.method.id,
        "keep_ratio": f"{spec.keep_ratio:g}",
        "schedule": spec.schedule.label,
        "seed": str(spec.seed),
        ON_FRONTIER: "false",  # until the end of a run of the sweep tells otherwise
        **_method_tags(spec.method.id),
    }


FAILURE_TAGS = ("failure", "error")
"""Tags that go away once a trial that failed has finished."""


def failure_tags(failure: str, error: str | None) -> dict[str, str]:
    """Why a trial failed."""
    return dict(zip(FAILURE_TAGS, (failure, (error or "")[:_LONGEST]), strict=True))


class Timed(Protocol):
    """Where and how a timing was taken."""

    @property
    def in_lane(self) -> bool:
        """Whether no other trial used the device meanwhile."""
        ...

    @property
    def device(self) -> str:
        """What it ran on."""
        ...

    @property
    def disturbed(self) -> Sequence[str]:
        """What may have disturbed it."""
        ...


def timing_tags(timing: Timed | None) -> dict[str, str]:
    """What to know about a trial's times before believing them; nothing where there are none."""
    if timing is None:
        return {}
    return {
        "in_lane": str(timing.in_lane).lower(),
        "device": timing.device,
        "disturbed": "; ".join(timing.disturbed) or "no",
    }


def params(spec: TrialSpec) -> dict[str, str]:
    """What was asked, resolved; without fingerprints and places on disk."""
    named = {
        "task": spec.task.id,
        "backbone": spec.backbone.name,
        "dtype": spec.backbone.dtype,
        "method": spec.method.id,
        "schedule": spec.schedule.label,
        "keep_ratio": spec.keep_ratio,
        "seed": spec.seed,
    }
    knobs = {
        f"{owner}.{name}": value
        for owner, thing in (("task", spec.task), ("method", spec.method))
        for name, value in thing.params.items()
    }
    return {name: str(value) for name, value in (named | knobs).items()}


def _method_tags(method_id: str) -> dict[str, str]:
    """Family and paper; nothing for a method that this installation no longer has."""
    from methods.registry import entries

    entry = entries().get(method_id)
    if entry is None:
        return {}
    paper: Any = entry.method.paper
    return {"family": entry.family, **({"paper": paper.arxiv or paper.title} if paper else {})}
