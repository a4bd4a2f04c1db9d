"""Stack: several methods in one model, each at a place of its own.

No paper: what LLMC+ (arXiv:2508.09981) recommends and measures by hand. A visual-token pruner, then
cache eviction, then a quantised cache save at different places, so their savings multiply, and
whether their errors do is what a sweep finds out. A stage without a budget of its own takes the
trial's.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from methods import registry
from methods.base import Method, Part
from methods.places import Place
from methods.schedule import Schedule


class StackStage(BaseModel):
    """One method of a stack, as a sweep file writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(description="Id of the method.")
    params: dict[str, JsonValue] = Field(default_factory=dict, description="Its hyperparameters.")
    keep: float | None = Field(
        default=None, gt=0, le=1, description="Its keep ratio; the trial's if left out."
    )
    schedule: Schedule | None = Field(
        default=None,
        description="Its schedule; if left out the trial's, or with a keep of its own the paper's.",
    )
    at: Place | None = Field(
        default=None, description="Where it attaches, if it could at several places."
    )

    @field_validator("method")
    @classmethod
    def _registered(cls, value: str) -> str:
        method = registry.entry(value).method
        if method is Stack:
            raise ValueError("a stack cannot stand in a stack: list its stages one by one")
        if method.environment is not None:
            raise ValueError(f"{value} runs in an environment of its own, not in a stack")
        return value

    def build(self) -> Method:
        """The method itself. Raises ValueError for wrong hyperparameters."""
        return registry.build(self.method, self.params)


class Stack(Method):
    """Methods at different places of one model, all at work at once."""

    version: ClassVar[int] = 2

    stages: tuple[StackStage, ...] = Field(
        min_length=1,
        description="Methods, one for each place that is compressed.",
        examples=[[{"method": "snapkv", "keep": 0.25}, {"method": "kivi", "params": {"bits": 4}}]],
    )

    @cached_property
    def components(self) -> tuple[Method, ...]:
        """The methods of the stages."""
        return tuple(stage.build() for stage in self.stages)

    @property
    def simulated(self) -> frozenset[str]:
        """Everything that one of the stages only simulates."""
        return frozenset().union(*(method.simulated for method in self.components))

    @property
    def fixed_ratio(self) -> float | None:
        """That of the first stage, where no stage takes the trial's budget."""
        own = [
            _own_ratio(stage, method)
            for stage, method in zip(self.stages, self.components, strict=True)
        ]
        return None if None in own else own[0]

    def changes_nothing(self, keep_ratio: float) -> bool:
        """Whether no stage does anything."""
        parts = self.parts(self.home, keep_ratio)
        return all(part.method.changes_nothing(part.keep_ratio) for part in parts)

    def parts(self, schedule: Schedule, keep_ratio: float) -> list[Part]:
        """The stages with the trial's budget filled in.

        A stage with a fixed ratio keeps it; ``schedule`` goes to the stages that leave their budget
        to the trial, unless they have one of their own.
        """
        return [
            _part(stage, method, schedule, keep_ratio)
            for stage, method in zip(self.stages, self.components, strict=True)
        ]


def _part(stage: StackStage, method: Method, schedule: Schedule, keep_ratio: float) -> Part:
    own = _own_ratio(stage, method)
    ratio = keep_ratio if own is None else own
    default = schedule if own is None else method.home
    return Part(method, stage.schedule or default, ratio, stage.at)


def _own_ratio(stage: StackStage, method: Method) -> float | None:
    return stage.keep if method.fixed_ratio is None else method.fixed_ratio
