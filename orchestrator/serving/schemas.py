"""Requests and answers over HTTP; the OpenAPI page is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from store.releases.release import Configuration, Workload
from sweeps.metrics import Direction
from sweeps.trial import Metrics

NAME_LENGTH = 200
Name = Annotated[str, Field(max_length=NAME_LENGTH)]
_Cost = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


def _kind_of_cost(value: Any) -> str:
    return "metrics" if isinstance(value, dict) else "number"


MaxCost = Annotated[
    Annotated[
        Annotated[_Cost, Tag("number")]
        | Annotated[dict[Name, _Cost], Tag("metrics"), Field(min_length=1, max_length=32)],
        Discriminator(_kind_of_cost),
    ]
    | None,
    Field(
        description="Largest measured cost, above 0: a number limits the workload's first "
        "minimised objective (for `flops` and `kv` the fraction of the uncompressed model's), an "
        "object limits the metrics it names."
    ),
]
MinQuality = Annotated[
    Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] | None,
    Field(description="Smallest measured quality, 0 to 1."),
]


class Closed(BaseModel):
    """Immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PredictRequest(Closed):
    """One example and what its answer may cost."""

    workload: Name | None = Field(
        default=None, description="May be left out where only one is served."
    )
    inputs: dict[str, JsonValue] = Field(
        description="One example as the workload's task takes it; `example` numbers the task's own."
    )
    max_cost: MaxCost = None
    min_quality: MinQuality = None
    configuration: Name | None = Field(
        default=None, description="Trial id of one configuration, instead of a budget."
    )


class ConfigurationCard(Closed):
    """A configuration as people name it."""

    trial: str
    """Content hash of the trial that measured it."""
    method: str
    hyperparameters: dict[str, JsonValue]
    keep_ratio: float
    schedule: str
    seed: int

    @classmethod
    def of(cls, configuration: Configuration) -> ConfigurationCard:
        """Of a configuration."""
        spec = configuration.spec
        return cls(
            trial=configuration.trial,
            method=spec.method.id,
            hyperparameters=spec.method.params,
            keep_ratio=spec.keep_ratio,
            schedule=spec.schedule.label,
            seed=spec.seed,
        )


class Prediction(Closed):
    """An answer, who gave it, and what was measured when it was chosen for the frontier."""

    workload: str
    output: dict[str, JsonValue]
    """The task's answer."""
    configuration: ConfigurationCard
    measured: Metrics
    seconds: float
    """Time in the model and the task for this request."""


class FrontierEntry(Closed):
    """A configuration with its measured numbers."""

    configuration: ConfigurationCard
    measured: Metrics


class FrontierWorkload(Closed):
    """A workload and what can be chosen in it."""

    workload: str
    objectives: dict[str, Direction]
    first_cost: str | None
    """What a bare `max_cost` limits."""
    configurations: list[FrontierEntry]

    @classmethod
    def of(cls, workload: Workload) -> FrontierWorkload:
        """Of a workload, its best configuration first."""
        ranked = sorted(workload.configurations, key=lambda c: (-workload.merit(c), c.trial))
        return cls(
            workload=workload.name,
            objectives=workload.objectives,
            first_cost=workload.first_cost,
            configurations=[
                FrontierEntry(configuration=ConfigurationCard.of(c), measured=c.measured)
                for c in ranked
            ],
        )


class FrontierQuery(Closed):
    """Which part of the frontier."""

    workload: Name | None = Field(default=None, description="Only this one.")


class Frontier(Closed):
    """Everything that can be chosen."""

    sweep: str
    workloads: list[FrontierWorkload]


class Answers(Closed):
    """Answers to a question, one per workload."""

    sweep: str
    ask: str
    answers: list[dict[str, JsonValue]]
    """Numbers and, in `unanswered`, why a workload has no answer."""


class Health(Closed):
    """Every model just answered an example of its task."""

    status: Literal["ok"] = "ok"
    sweep: str
    workloads: list[str]
    configurations: int
    backbones: int
    """Models in memory; configurations that share weights share one."""


class NearestBudget(Closed):
    """The nearest budget that some configuration fits, ready to be sent."""

    max_cost: dict[str, float]
    min_quality: float | None


class Problem(Closed):
    """Why there is no answer."""

    detail: str
    nearest: NearestBudget | None = None
    """Where nothing fits the budget."""
