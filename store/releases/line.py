"""What a sweep's ledger says is to be served: a pure function of its steps, in their order.

A step is never changed or taken back; going back is a step of its own. Whoever serves a sweep
follows its line, so that a server that died comes back with what was served before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Step(StrEnum):
    """What happened to a release."""

    FROZEN = "frozen"
    PASSED = "gate-passed"
    FAILED = "gate-failed"
    REGISTERED = "registered"
    CANARY = "canary"
    ACTIVE = "active"
    ROLLED_BACK = "rolled-back"


class Terms(BaseModel):
    """How a release proves itself on a share of the traffic before it gets all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.1, gt=0, lt=1)
    """Of the requests that name no release."""
    requests: int = Field(default=200, ge=1)
    """So many without a broken limit, and it takes over."""
    max_errors: float = Field(default=0.01, ge=0, lt=1)
    """Share of its requests that may fail."""
    max_slowdown: float = Field(default=1.5, gt=0)
    """A request is slow beyond so many times the 95th percentile of the release it would replace;
    one in twenty may be."""


@dataclass(frozen=True)
class Entry:
    """One step in the ledger of a sweep."""

    sequence: int
    """1, 2, 3 ... within the sweep."""
    number: int
    """Of the release that it is about."""
    step: Step
    at: datetime
    """When it was taken, UTC."""
    who: str
    why: str
    evidence: dict[str, Any]
    """What the step rests on: numbers, terms, names."""


@dataclass(frozen=True)
class Canary:
    """A release on trial."""

    number: int
    terms: Terms


@dataclass(frozen=True)
class Line:
    """Where a sweep's releases stand after a number of steps."""

    sequence: int = 0
    """Of the last step."""
    activated: tuple[int, ...] = ()
    """Releases that took over, one after the other; those that were rolled back are gone."""
    canary: Canary | None = None
    passed: frozenset[int] = field(default_factory=frozenset)
    """Releases whose last gate was passed."""

    @property
    def active(self) -> int | None:
        """What is served; None before the first rollout, and once that was rolled back."""
        return self.activated[-1] if self.activated else None

    @property
    def previous(self) -> int | None:
        """What a rollback leads to; stays loaded."""
        return self.activated[-2] if len(self.activated) > 1 else None

    def after(self, entry: Entry) -> Line:
        """The line one step further."""
        line = replace(self, sequence=entry.sequence)
        match entry.step:
            case Step.PASSED:
                return replace(line, passed=line.passed | {entry.number})
            case Step.FAILED:
                return replace(line, passed=line.passed - {entry.number})
            case Step.CANARY:
                terms = Terms.model_validate(entry.evidence["terms"])
                return replace(line, canary=Canary(entry.number, terms))
            case Step.ACTIVE:
                return replace(line, activated=(*line.activated, entry.number), canary=None)
            case Step.ROLLED_BACK:
                return line._without(entry.number)
        return line

    def why_not(self, step: Step, number: int) -> str | None:
        """Why this step cannot come next, in one sentence; None if it can."""
        match step:
            case Step.CANARY | Step.ACTIVE:
                return self._why_not_out(step, number)
            case Step.ROLLED_BACK:
                return self._why_not_back(number)
        return None

    def _why_not_out(self, step: Step, number: int) -> str | None:
        if number not in self.passed:
            return f"release {number} has not passed its gate"
        if number == self.active:
            return f"release {number} is active already"
        if step is Step.CANARY and self.active is None:
            return "no release is active that a canary could be compared with"
        return None

    def _why_not_back(self, number: int) -> str | None:
        if self.canary is not None and number == self.canary.number:
            return None
        if number != self.active:
            return f"release {number} is neither active nor a canary"
        return None

    def _without(self, number: int) -> Line:
        if self.canary is not None and self.canary.number == number:
            return replace(self, canary=None)
        return replace(self, activated=self.activated[:-1], canary=None)


def line_of(entries: list[Entry]) -> Line:
    """Where a ledger leads."""
    line = Line()
    for entry in entries:
        line = line.after(entry)
    return line
