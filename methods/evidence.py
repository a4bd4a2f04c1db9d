"""What speaks for a method's fidelity to its paper, and how it does beside random tokens.

Facts only. ``evidence.csv`` is written by hand, one row for every implemented method with a paper;
``measured.csv`` by ``python -m tests.benchmarks.against_random`` from the shipped sweeps' results.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Code = Literal["read", "read elsewhere", "used", "none public", "not found", "not read"]


class Evidence(BaseModel):
    """Why one implementation is believed to be its paper's method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="The method.")
    equation: str = Field(max_length=40, description="Part of the paper that is implemented.")
    code: Code = Field(
        description="The authors' code; elsewhere: a known reimplementation of it; used: it does "
        "the work itself."
    )
    reading: str | None = Field(
        max_length=90, description="What the paper leaves open or is done differently here."
    )
    test: str | None = Field(
        description="Test (pytest's name) of that equation against a slow, plain version."
    )
    property: str | None = Field(description="Test of what the paper claims for its method.")
    kvpress: str | None = Field(
        max_length=20, description="Agreement with kvpress on the same model and prompt."
    )


class Measured(BaseModel):
    """One method beside the random control with the same budget, schedule, models and examples.

    Differences are paired: the mean over seeds is taken first, for each example.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="The method.")
    params: str | None = Field(description="Hyperparameters that differ from the defaults, JSON.")
    sweep: str
    workload: str
    schedule: str = Field(description="Of method and control.")
    keep: str = Field(description="Budget, as the sweep writes it.")
    seeds: int = Field(ge=1, description="Seeds that both finished.")
    examples: int = Field(ge=1)
    quality: float = Field(description="Mean outcome of the method over seeds and examples.")
    random: float = Field(description="Mean outcome of the control.")
    difference: float = Field(description="How much better the method is; negative is worse.")
    p: float = Field(ge=0, le=1, description="Two-sided p of the difference over examples.")
    wins: int = Field(ge=0, description="Seeds in which the method's mean is better.")

    @property
    def better(self) -> bool:
        """Whether the method beats the control with p below 0.05."""
        return self.difference > 0 and self.p < 0.05


@cache
def evidence() -> dict[str, Evidence]:
    """All rows by method, in the order of the file."""
    rows = [Evidence.model_validate(row) for row in _rows("evidence.csv")]
    return {row.id: row for row in rows}


@cache
def measured() -> dict[str, tuple[Measured, ...]]:
    """Comparisons by method, in the order of the file; a method without any is not in it."""
    found: dict[str, tuple[Measured, ...]] = {}
    for row in map(Measured.model_validate, _rows("measured.csv")):
        found[row.id] = (*found.get(row.id, ()), row)
    return found


def _rows(name: str) -> list[Mapping[str, str | None]]:
    text = resources.files("methods").joinpath(name).read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return [{key: value or None for key, value in row.items()} for row in rows]
