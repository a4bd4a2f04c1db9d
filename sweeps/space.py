"""What a search algorithm may choose from: a workload's axes, continuous where they can be.

A list of numbers that are not whole is the interval from the smallest to the largest; everything
else that a file lists is a choice. A range of keep ratios is continuous, whatever its steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from methods.naming import called
from methods.registry import MethodEntry
from methods.schedule import Schedule
from sweeps.keep import DIGITS, Keep, KeepRange, ratio
from sweeps.mistakes import strictly
from sweeps.models import MissingSeedError
from sweeps.patterns import matching
from sweeps.plan import (
    Candidate,
    Impossible,
    PlannedTrial,
    Variant,
    open_model,
    refused,
    trial_at,
)
from sweeps.site import Refusal, Site
from sweeps.spec import SweepSpec
from sweeps.trial import BASELINE
from sweeps.variants import PAPER, SCHEDULES, Choice, ScheduleChoice

METHOD, SCHEDULE, KEEP, KEEP_RATIO = "method", "schedule", "keep", "keep_ratio"
Ends = tuple[float, float]
Chosen = Mapping[str, Any]
"""By dimension: the label of a choice, or a number."""


_CONTINUOUS = "keep: [{from: 0.05, to: 1, steps: 2}] would be, between its ends"


class Asker(Protocol):
    """Whoever decides; a name always stands for the same labels or ends."""

    def choice(self, name: str, labels: list[str]) -> str:
        """One of the labels."""
        ...

    def number(self, name: str, ends: Ends, log: bool) -> float:
        """A number between the ends, by equal factors if ``log``."""
        ...


@dataclass(frozen=True)
class Option:
    """A method or schedule, with the parameters that are settled and those that may vary."""

    label: str
    settled: dict[str, Any]
    open: dict[str, Ends]
    entry: MethodEntry | None = None

    def ask(self, asker: Asker) -> None:
        """Let what may vary be decided."""
        for name, ends in self.open.items():
            asker.number(f"{self.label}.{name}", ends, log=False)

    def params(self, chosen: Chosen) -> dict[str, Any]:
        """Parameters to build it with: those that are settled and those chosen."""
        numbers = {name: _rounded(chosen[f"{self.label}.{name}"]) for name in self.open}
        return self.settled | numbers


class Space:
    """The choices of one workload, and the trials that they mean."""

    def __init__(self, spec: SweepSpec, name: str) -> None:
        self.workload = name
        axes, workload = spec.axes(name), spec.workloads[name]
        excluded = {entry.id for pattern in axes.exclude for entry in matching(pattern)}
        self._methods = {
            option.label: option
            for choice in axes.methods
            for option in _methods(choice)
            if option.entry is not None and option.entry.id not in {*excluded, BASELINE}
        }
        self._schedules = {o.label: o for choice in axes.schedules for o in _schedules(choice)}
        self._budgets = {_label(item): item for item in axes.keep}
        self.objectives = axes.objectives
        self.sites, self.reasons = {}, dict[int, str]()
        task = workload.task.build()
        for seed in dict.fromkeys(axes.seeds):
            try:
                model = open_model(workload, seed, spec.source.folder)
                site = Site(model, task, seed, spec.measure)
                site.require_match()
                self.sites[seed] = site
            except (MissingSeedError, Refusal) as error:
                self.reasons[seed] = str(error)

    @property
    def is_open(self) -> bool:
        """Whether there is anything to choose, and a model to choose it for."""
        return bool(self._methods and self.sites)

    def ask(self, asker: Asker) -> None:
        """Have everything decided that makes up one configuration."""
        self._methods[asker.choice(METHOD, list(self._methods))].ask(asker)
        self._schedules[asker.choice(SCHEDULE, list(self._schedules))].ask(asker)
        budget = self._budgets[asker.choice(KEEP, list(self._budgets))]
        if isinstance(budget, KeepRange):
            ends = (min(budget.start, budget.to), max(budget.start, budget.to))
            asker.number(f"{KEEP_RATIO} {_label(budget)}", ends, budget.spacing == "geometric")

    def trials(self, chosen: Chosen) -> list[PlannedTrial]:
        """What a decision means, one trial for each seed. Raises Refusal where it cannot run."""
        return self._planned(self._candidate(chosen))

    def refused(self, chosen: Chosen, reason: str) -> list[Impossible]:
        """A decision that cannot run, for each seed."""
        candidate = self._candidate(chosen)
        return [refused(self.workload, seed, candidate, reason) for seed in self.sites]

    def baseline(self) -> list[PlannedTrial]:
        """The uncompressed model, one trial for each seed."""
        entry = matching(BASELINE)[0]
        return self._planned(Candidate(Variant.of(entry, entry.method()), ratio(1.0), None))

    @property
    def sentence(self) -> str:
        """What there is to choose from, in one line."""
        if not self._methods:
            return f"{self.workload}: no method to choose from, only the uncompressed model"
        ranges = sum(isinstance(each, KeepRange) for each in self._budgets.values())
        numbers = ranges + sum(len(option.open) for option in self._options())
        words = (
            f"{self.workload}: {len(self._methods)} methods, {len(self._schedules)} schedules, "
            f"{len(self._budgets)} budgets; {numbers} of the dimensions are continuous"
        )
        return words if numbers else f"{words} ({_CONTINUOUS})"

    def _options(self) -> list[Option]:
        return [*self._methods.values(), *self._schedules.values()]

    def _candidate(self, chosen: Chosen) -> Candidate:
        option = self._methods[chosen[METHOD]]
        assert option.entry is not None
        variant = Variant.of(option.entry, strictly(option.entry.method, option.params(chosen)))
        schedule = _schedule(self._schedules[chosen[SCHEDULE]], chosen)
        budget = self._budgets[chosen[KEEP]]
        if isinstance(budget, KeepRange):
            budget = ratio(_rounded(chosen[f"{KEEP_RATIO} {_label(budget)}"]))
        return Candidate(variant, budget, schedule)

    def _planned(self, candidate: Candidate) -> list[PlannedTrial]:
        return [
            PlannedTrial(self.workload, candidate.keep_label, trial_at(site, candidate))
            for site in self.sites.values()
        ]


def suggestions(spaces: Sequence[Space], num_trials: int, max_trials: int | None) -> list[int]:
    """How many to ask for in each space: none where nothing is to be chosen.

    ``max_trials`` holds for all spaces together, every seed and the uncompressed models included.
    What these leave is shared out equally, so that who is faster decides nothing.
    """
    each = sum(len(space.sites) for space in spaces if space.is_open)
    if max_trials is not None and each:
        known = sum(len(space.sites) for space in spaces)
        num_trials = min(num_trials, max(0, max_trials - known) // each)
    return [num_trials if space.is_open else 0 for space in spaces]


def _methods(choice: Choice) -> list[Option]:
    return [
        Option(called(entry.id, settled), settled, ends, entry)
        for entry in matching(choice.name)
        for settled, ends in _split(choice)
    ]


def _schedules(choice: ScheduleChoice) -> list[Option]:
    return [Option(called(choice.name, settled), settled, ends) for settled, ends in _split(choice)]


def _schedule(option: Option, chosen: Chosen) -> Schedule | None:
    name = option.label.partition("(")[0]
    if name == PAPER:
        return None
    kind: Any = SCHEDULES[name]
    schedule: Schedule = strictly(kind, option.params(chosen))
    return schedule


def _split(choice: Choice) -> list[tuple[dict[str, Any], dict[str, Ends]]]:
    """Every combination of what is listed, and the ends of what lies between numbers."""
    ends = {name: (min(v), max(v)) for name, values in choice.axes.items() if (v := _reals(values))}
    listed = {name: values for name, values in choice.axes.items() if name not in ends}
    combinations = itertools.product(*listed.values())
    return [(dict(zip(listed, each, strict=True)), ends) for each in combinations]


def _reals(values: list[Any]) -> list[float]:
    """The values, if they are several numbers that are not all whole; otherwise none."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    several = len(set(numbers)) > 1 and len(numbers) == len(values)
    return numbers if several and any(isinstance(v, float) for v in numbers) else []


def _label(item: Keep | KeepRange) -> str:
    return item.label if isinstance(item, Keep) else f"{item.start:g} to {item.to:g}"


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
