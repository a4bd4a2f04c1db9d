"""From a sweep file to trials: every combination either runs, or is listed with the reason why not.

Nothing is dropped silently: for every plan, the product of the axes over all workloads is
``len(trials) + collapsed + len(impossible)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from methods.base import Method
from methods.naming import called
from methods.registry import MethodEntry
from methods.schedule import Schedule
from sweeps import models
from sweeps.choices import RandomModel, Reference
from sweeps.collection import uncollected
from sweeps.keep import Keep, KeepRange
from sweeps.mistakes import SweepFileError
from sweeps.models import MissingSeedError, Model, ModelError
from sweeps.patterns import matching
from sweeps.site import Refusal, Site
from sweeps.spec import SweepSpec, Workload, WorkloadAxes
from sweeps.trial import BASELINE, MeasureSpec, Named, TrialSpec


class PlannedTrial(NamedTuple):
    """One trial and where in the sweep file it comes from."""

    workload: str
    keep_label: str
    """The budget as the user wrote it, where several gave this trial the first of them."""
    spec: TrialSpec


class Impossible(NamedTuple):
    """One combination that cannot run."""

    workload: str
    method: str
    """Id, with hyperparameters that differ from the defaults."""
    keep: str
    schedule: str
    seed: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a sweep will run."""

    trials: tuple[PlannedTrial, ...]
    """Unique by workload and trial id; neighbours share model, task and seed, baseline first."""
    impossible: tuple[Impossible, ...]
    """In the order of the sweep file, those beyond ``max_trials`` last."""
    collapsed: int
    """Combinations that another trial of the plan stands for.

    At keep ratio 1.0 every method is exactly the uncompressed model, so that all methods and
    schedules are one trial per workload and seed: ``identity`` with the uniform schedule. Budgets
    that are written differently and keep the same number of tokens are one trial as well.
    """


class Candidate(NamedTuple):
    """One combination of a workload's axes."""

    method: Variant
    keep: Keep
    schedule: Schedule | None
    """None is the schedule of the method's paper."""

    @property
    def keep_label(self) -> str:
        """The budget as the user wrote it, or the only one that the method has."""
        fixed = self.method.method.fixed_ratio
        return self.keep.label if fixed is None else f"{fixed:g}"

    @property
    def schedule_label(self) -> str:
        """What tables call the schedule."""
        return (self.method.method.home if self.schedule is None else self.schedule).label


@dataclass(frozen=True)
class Variant:
    """A method with its hyperparameters, as plans name it."""

    entry: MethodEntry
    method: Method
    named: Named
    label: str

    @classmethod
    def of(cls, entry: MethodEntry, method: Method) -> Variant:
        """The method with the names of its trials and its tables."""
        params = method.model_dump(mode="json")
        named = Named(id=entry.id, version=method.revision, params=params)
        changed = method.model_dump(mode="json", exclude_defaults=True)
        return cls(entry, method, named, called(entry.id, changed))


@uncollected()
def plan(spec: SweepSpec) -> Plan:
    """Expand a sweep into trials.

    Reads the models' configs and hashes their weights. Raises
    :class:`~sweeps.mistakes.SweepFileError`, located at the backbone, if a model cannot be opened.
    """
    expanded = _Expansion(spec.measure)
    mistakes = []
    for name, workload in spec.workloads.items():
        try:
            expanded.add(name, workload, spec.axes(name), spec.source.folder)
        except ModelError as error:
            loc = ("workloads", name, "backbone")
            mistakes.append(spec.mistake(str(error), loc))
    if mistakes:
        raise SweepFileError(mistakes)
    return expanded.plan(spec.budget.max_trials)


@dataclass
class _Expansion:
    """Trials, impossible combinations and duplicates, as workloads are added."""

    measure: MeasureSpec
    trials: dict[tuple[str, str], tuple[PlannedTrial, Candidate]] = field(default_factory=dict)
    impossible: list[Impossible] = field(default_factory=list)
    collapsed: int = 0

    def add(self, name: str, workload: Workload, axes: WorkloadAxes, folder: Path) -> None:
        """All combinations of one workload. Raises ModelError."""
        task = workload.task.build()
        candidates = list(_candidates(axes))
        for seed in dict.fromkeys(axes.seeds):
            site: Site | None = None
            reason = ""
            try:
                site = Site(open_model(workload, seed, folder), task, seed, self.measure)
                site.require_match()
            except (MissingSeedError, Refusal) as error:
                site, reason = None, str(error)
            for candidate in candidates:
                self._add(name, seed, candidate, site, reason)

    def _add(
        self, workload: str, seed: int, candidate: Candidate, site: Site | None, reason: str
    ) -> None:
        try:
            if site is None:
                raise Refusal(reason)
            trial = PlannedTrial(workload, candidate.keep_label, trial_at(site, candidate))
        except Refusal as error:
            self.impossible.append(refused(workload, seed, candidate, str(error)))
            return
        key = (workload, trial.spec.id)
        self.collapsed += key in self.trials
        self.trials.setdefault(key, (trial, candidate))

    def plan(self, max_trials: int | None) -> Plan:
        """The trials in order, the surplus moved to the impossible ones."""
        ordered = sorted(self.trials.values(), key=self._order())
        ids = dict.fromkeys(trial.spec.id for trial, _ in ordered)
        chosen = set(itertools.islice(ids, max_trials))
        kept = [each for each in ordered if each[0].spec.id in chosen]
        surplus = [each for each in ordered if each[0].spec.id not in chosen]
        reason = f"budget.max_trials is {max_trials}"
        left_out = [_surplus(trial, candidate, reason) for trial, candidate in surplus]
        return Plan(
            tuple(trial for trial, _ in kept), (*self.impossible, *left_out), self.collapsed
        )

    def _order(self) -> Callable[[tuple[PlannedTrial, Candidate]], tuple[Any, ...]]:
        """Model, task, seed, then baseline first; models and tasks in the order of the file."""
        weights: dict[tuple[str, str], int] = {}
        data: dict[str, int] = {}
        for trial, _ in self.trials.values():
            weights.setdefault(_weights(trial), len(weights))
            data.setdefault(trial.spec.data, len(data))

        def key(item: tuple[PlannedTrial, Candidate]) -> tuple[Any, ...]:
            spec = item[0].spec
            place = (weights[_weights(item[0])], data[spec.data], spec.seed)
            return (*place, spec.method.id != BASELINE)

        return key


def trial_at(site: Site, candidate: Candidate) -> TrialSpec:
    """The trial of a candidate. Raises Refusal where it cannot run."""
    method, keep, schedule = candidate
    return site.trial(method.method, method.named, keep, schedule)


def _weights(trial: PlannedTrial) -> tuple[str, str]:
    return trial.spec.backbone.fingerprint, trial.spec.backbone.dtype


def refused(workload: str, seed: int, candidate: Candidate, reason: str) -> Impossible:
    """A candidate that cannot run with this seed."""
    method, keep, _ = candidate
    label = candidate.schedule_label
    return Impossible(workload, method.label, keep.label, label, seed, reason)


def _surplus(trial: PlannedTrial, candidate: Candidate, reason: str) -> Impossible:
    spec = trial.spec
    method = BASELINE if spec.method.id == BASELINE else candidate.method.label
    label, schedule = trial.keep_label, spec.schedule.label
    return Impossible(trial.workload, method, label, schedule, spec.seed, reason)


def open_model(workload: Workload, seed: int, folder: Path) -> Model:
    """The model of a workload with one seed. Raises ModelError."""
    backbone = workload.backbone
    if isinstance(backbone, Reference):
        return models.open_reference(backbone.id, seed)
    if isinstance(backbone, RandomModel):
        chosen = (backbone.config, backbone.layers, backbone.dtype)
        return models.open_random(*chosen, seed, folder)
    return models.open_hugging_face(backbone.hf, backbone.revision, backbone.dtype, folder)


def _candidates(axes: WorkloadAxes) -> Iterator[Candidate]:
    schedules = dict.fromkeys(s for choice in axes.schedules for s in choice.expand())
    combinations = itertools.product(_variants(axes), schedules, _budgets(axes.keep))
    return (Candidate(method, keep, schedule) for method, schedule, keep in combinations)


def _variants(axes: WorkloadAxes) -> list[Variant]:
    """Methods meant by the file, each once."""
    excluded = {entry.id for pattern in axes.exclude for entry in matching(pattern)}
    chosen = (pair for choice in axes.methods for pair in choice.expand())
    variants = (Variant.of(*pair) for pair in chosen if pair[0].id not in excluded)
    return list({variant.named.model_dump_json(): variant for variant in variants}.values())


def _budgets(items: Iterable[Keep | KeepRange]) -> list[Keep]:
    """Budgets as written, each once."""
    expanded = (item.expand() if isinstance(item, KeepRange) else (item,) for item in items)
    return list(dict.fromkeys(itertools.chain.from_iterable(expanded)))
