"""The sweep file as data: :class:`SweepSpec` and its parts.

A sweep is, for every workload, the product of its axes: seeds, budgets, methods and schedules. An
axis that stands at the top of the file holds for every workload that does not give its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from methods.places import Place
from sweeps.choices import BackboneItem, RandomModel, TaskItem
from sweeps.fields import PRIORITIES, Measure, Objectives, Priority, Workers
from sweeps.keep import KeepItem
from sweeps.metrics import METRICS, Direction
from sweeps.mistakes import Loc, Mistake, Part, refuse, relocated, wrong
from sweeps.patterns import Pattern
from sweeps.search import Grid, Race, SearchItem
from sweeps.task_axes import Expanded, expanded
from sweeps.tasks import registry as tasks_registry
from sweeps.times import TIME_METRICS
from sweeps.trial import MeasureSpec
from sweeps.variants import MethodItem, ScheduleChoice, ScheduleItem
from sweeps.yaml_tree import Tree

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**31)]
T = TypeVar("T")
_BETTER: dict[Direction, str] = {"maximize": "when larger", "minimize": "when smaller"}


class Axes(Part):
    """What a sweep varies; None where the axis is taken from the top of the file."""

    seeds: tuple[Seed, ...] | None = Field(
        default=None,
        min_length=1,
        description="Each selects the reference weights trained with it and seeds every random "
        "choice. Default: [0].",
    )
    keep: tuple[KeepItem, ...] | None = Field(
        default=None, min_length=1, description="Budgets: what compression leaves."
    )
    methods: tuple[MethodItem, ...] | None = Field(
        default=None, min_length=1, description="Methods by name, with parameters, or by pattern."
    )
    exclude: tuple[Pattern, ...] | None = Field(
        default=None, description="Methods to leave out, by name or pattern."
    )
    schedules: tuple[ScheduleItem, ...] | None = Field(
        default=None,
        min_length=1,
        description="How a budget spreads over layers. Default: [uniform].",
    )
    objectives: Objectives | None = Field(
        default=None,
        description="What the frontier is taken over. Default: quality where it is measured, and "
        "flops (vision) or kv.",
    )


class Workload(Axes):
    """One task on one backbone, with the axes that are its own."""

    task: TaskItem = Field(description="What the model has to do.")
    backbone: BackboneItem = Field(description="The model that is compressed.")

    @property
    def place(self) -> Place:
        """Where the task's models are compressed."""
        return tasks_registry.entry(self.task.id).task.place


class Resources(Part):
    """What one worker may use."""

    workers: Workers = Field(default="auto", description="How many; auto fills the cluster.")
    cpus: Annotated[float, Strict()] = Field(default=1, gt=0, le=4096, description="CPUs each.")
    gpus: Annotated[float, Strict()] = Field(
        default=0, ge=0, le=64, description="GPUs each; below 1 several workers share one."
    )

    @field_validator("cpus", "gpus")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"must be whole above 1, got {value:g}")
        return value


class Budget(Part):
    """Where a sweep stops."""

    max_trials: Annotated[int, Strict()] | None = Field(
        default=None, ge=1, description="Trials at most, in the plan's order; not of a race."
    )
    max_hours: Annotated[float, Strict()] | None = Field(
        default=None, gt=0, description="Hours after which no further trial starts."
    )


@dataclass(frozen=True)
class Source:
    """Where a spec was read from; no part of what it says, so it never makes two specs differ."""

    file: str = field(compare=False)
    """As the user named it."""
    folder: Path = field(default_factory=Path, compare=False)
    """Paths in the file are relative to it."""
    tree: Tree = field(default_factory=Tree, compare=False)
    text: str = field(default="", compare=False)
    """All of it: a pipe can be read only once, and a file may change meanwhile."""

    def mistake(self, message: str, loc: Loc, *, at_key: bool = False, **more: Any) -> Mistake:
        """A mistake with the line and column of ``loc``."""
        place = self.tree.place(loc, at_key)
        path = ".".join(map(str, loc))
        return Mistake(message, self.file, place.line, place.column, path, **more)


class SweepSpec(Axes):
    """A sweep file. Reading one is :func:`sweeps.load.load_sweep`."""

    schema_: str | None = Field(default=None, alias="$schema", description="For editors.")
    name: Name = Field(description="Name of the sweep in the store: a-z, 0-9, - and _.")
    description: str | None = Field(default=None, description="For people.")
    workloads: dict[Name, Workload] = Field(min_length=1, description="What is measured, by name.")
    resources: Resources = Field(default=Resources(), description="What one worker may use.")
    priority: Priority = Field(
        default=PRIORITIES["normal"],
        description="Of sweeps that run on one cluster at a time, one of twice the priority gets "
        "twice the workers: low (1), normal (3), high (9) or a number up to 100.",
    )
    budget: Budget = Field(default=Budget(), description="Where the sweep stops.")
    measure: Measure = Field(default=MeasureSpec(), description="What is measured, and how.")
    search: SearchItem = Field(default=Grid(), description="How the frontier is looked for.")

    _source: Source = PrivateAttr(default=Source("sweep"))
    _expanded: Expanded = PrivateAttr(default=Expanded(None))

    @property
    def source(self) -> Source:
        """Where the spec was read from; a nameless place where it was built in Python."""
        return self._source

    def mistake(self, message: str, loc: Loc) -> Mistake:
        """A mistake with the line and column of ``loc``, whose workload may stand for several."""
        return self.source.mistake(message, self._expanded.written(loc))

    def axes(self, workload: str) -> WorkloadAxes:
        """The axes of a workload, with what it inherits and the defaults filled in."""
        own = self.workloads[workload]

        def chosen(name: str, default: T) -> T:
            found = (getattr(own, name), getattr(self, name))
            return next((value for value in found if value is not None), default)

        cost = "kv" if own.place == "kv" else "flops"
        objectives: dict[str, Direction] = {cost: "minimize"}
        if self.measure.quality:
            direction = tasks_registry.entry(own.task.id).task.direction
            objectives = {"quality": direction, **objectives}
        return WorkloadAxes(
            seeds=chosen("seeds", (0,)),
            keep=chosen("keep", ()),
            methods=chosen("methods", ()),
            exclude=chosen("exclude", ()),
            schedules=chosen("schedules", (ScheduleChoice(name="uniform"),)),
            objectives=chosen("objectives", objectives),
        )

    @property
    def objectives_by_workload(self) -> dict[str, dict[str, Direction]]:
        """Metrics and directions of every workload, in the order of the file."""
        return {name: dict(self.axes(name).objectives) for name in self.workloads}

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every workload's objectives spelt out; valid as a spec again.

        Whoever asks for a frontier later reads them without importing tasks, and torch with them.
        """
        content = self.model_dump(mode="json", by_alias=True)
        for name, objectives in self.objectives_by_workload.items():
            content["workloads"][name]["objectives"] = objectives
        return content

    @model_validator(mode="wrap")
    @classmethod
    def _every_workload_has_axes(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        found = expanded(data)
        mistakes = [*_missing_axes(found.data)]
        try:
            spec = handler(found.data)
        except ValidationError as error:
            own = (relocated(details, details["loc"]) for details in error.errors())
            raise refuse(*_in_file([*own, *mistakes], found), *found.mistakes) from None
        mistakes += [*spec._unmeasured_objectives(), *spec._meaningless_quality()]
        mistakes += [*spec._batches_of_their_own(), *spec._race_over_nothing()]
        mistakes += spec._race_by_number()
        if mistakes or found.mistakes:
            raise refuse(*_in_file(mistakes, found), *found.mistakes)
        spec._expanded = found
        return spec

    def _batches_of_their_own(self) -> Iterator[InitErrorDetails]:
        if len(self.measure.timed_batches) < 2:
            return
        for workload in self.workloads.values():
            task = tasks_registry.entry(workload.task.id).task
            if not task.has_answers:
                sentence = f"task {task.id} has a batch_size of its own: make a list of that one"
                yield wrong(sentence, ("measure", "latency_batch"))

    def _race_over_nothing(self) -> Iterator[InitErrorDetails]:
        if isinstance(self.search, Race) and not self.measure.quality:
            decided = "a race is decided by quality, which is not measured"
            yield wrong(f"{decided}: measure lists {self._listed}", ("search",))

    def _race_by_number(self) -> Iterator[InitErrorDetails]:
        if isinstance(self.search, Race) and self.budget.max_trials is not None:
            sentence = "how many trials a race needs is what it finds out: bound it by max_hours"
            instead = "or make it shorter by a larger epsilon or fewer num_examples"
            yield wrong(f"{sentence}, {instead}", ("budget", "max_trials"), at_key=True)

    def _unmeasured_objectives(self) -> list[InitErrorDetails]:
        found = []
        for name, workload in self.workloads.items():
            own = workload.objectives is not None
            loc: Loc = ("workloads", name, "objectives") if own else ("objectives",)
            directions = (workload.objectives if own else self.objectives) or {}
            right = tasks_registry.entry(workload.task.id).task.direction
            if directions.get("quality", right) != right:
                sentence = f"quality of {name} is better {_BETTER[right]}: write {right}"
                found.append(wrong(sentence, (*loc, "quality"), value=directions["quality"]))
            for objective in directions:
                if METRICS[objective].of_cache and workload.place == "vision":
                    sentence = f"{name} has no key/value cache, so {objective!r} is not measured"
                    found.append(wrong(sentence, (*loc, objective), at_key=True))
                if objective in TIME_METRICS and not isinstance(self.search, Grid):
                    search = self.search.strategy
                    sentence = f"a {search} ends before anything is timed: leave {objective!r} out"
                    found.append(
                        wrong(f"{sentence}, or write search: grid", (*loc, objective), at_key=True)
                    )
                elif objective in TIME_METRICS and not self.measure.latency_pairs:
                    sentence = f"objective {objective!r} needs measure.latency_pairs above 0"
                    found.append(wrong(sentence, (*loc, objective), at_key=True))
                elif objective in TIME_METRICS and self.measure.latency_of != "all":
                    sentence = f"objective {objective!r} needs measure.latency_of: all"
                    found.append(wrong(sentence, (*loc, objective), at_key=True))
                if objective == "quality" and not self.measure.quality:
                    sentence = f"objective 'quality' is not measured: measure lists {self._listed}"
                    found.append(wrong(sentence, (*loc, objective), at_key=True))
        return found

    def _meaningless_quality(self) -> Iterator[InitErrorDetails]:
        if not self.measure.quality:
            return
        instead = "write measure: [cost], or [cost, latency]"
        for name, workload in self.workloads.items():
            task = tasks_registry.entry(workload.task.id).task
            if isinstance(workload.backbone, RandomModel):
                sentence = f"weights are random, so that quality would mean nothing: {instead}"
                yield wrong(sentence, ("workloads", name, "backbone", "weights"))
            elif not task.has_answers:
                sentence = f"task {task.id} has no right answers, so there is no quality: {instead}"
                yield wrong(sentence, ("workloads", name, "task"))

    @property
    def _listed(self) -> str:
        return ", ".join(self.measure.what)


@dataclass(frozen=True)
class WorkloadAxes:
    """The axes of one workload, complete."""

    seeds: tuple[int, ...]
    keep: tuple[KeepItem, ...]
    methods: tuple[MethodItem, ...]
    exclude: tuple[str, ...]
    schedules: tuple[ScheduleItem, ...]
    objectives: dict[str, Direction]


def _in_file(mistakes: Iterable[InitErrorDetails], found: Expanded) -> Iterator[InitErrorDetails]:
    """The mistakes at the places that the file has."""
    for each in mistakes:
        context = each["type"].context if isinstance(each["type"], PydanticCustomError) else None
        at_key = bool((context or {}).get("at_key"))
        yield {**each, "loc": found.written(each["loc"], at_key=at_key)}


def _missing_axes(data: Any) -> list[InitErrorDetails]:
    """Workloads without methods or budgets, found even where the rest is wrong, too."""
    workloads = data.get("workloads") if isinstance(data, dict) else None
    if not isinstance(workloads, dict):
        return []
    return [
        wrong(
            f"{name} has no {axis!r}: give it here or at the top of the file",
            ("workloads", name),
            at_key=True,
        )
        for name, workload in workloads.items()
        for axis in ("keep", "methods")
        if isinstance(workload, dict) and workload.get(axis) is None and data.get(axis) is None
    ]
