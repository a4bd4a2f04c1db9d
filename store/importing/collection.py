"""Imported results as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from methods.naming import unknown
from store.records import METRIC_NAMES, Number
from sweeps.metrics import QUALITY

Finite = Annotated[float, Field(allow_inf_nan=False)]


class ImportedPoint(BaseModel):
    """One configuration as its source reports it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str = Field(min_length=1, max_length=200)
    method: str = Field(min_length=1, max_length=200)
    """The source's own word: whether it is one of our methods is not ours to guess."""
    keep_ratio: float = Field(gt=0, le=1)
    """Fraction kept, as the source reports it."""
    hyperparameters: dict[str, Any] = {}
    schedule: str = ""
    seed: int | None = None
    reported: dict[str, Finite]
    """Numbers by the names of :class:`sweeps.trial.Metrics`; ``quality`` is one of them."""
    origin: str
    """Folder or line that says so."""

    @model_validator(mode="after")
    def _numbers_are_metrics(self) -> Self:
        for name in self.reported:
            if name not in METRIC_NAMES:
                raise ValueError(unknown("metric", name, METRIC_NAMES))
        if QUALITY not in self.reported:
            raise ValueError("quality is missing")
        return self

    @property
    def metrics(self) -> dict[str, Number | None]:
        """Every metric that is one number, None where the source says nothing."""
        return {name: self.reported.get(name) for name in METRIC_NAMES}

    @property
    def simulated(self) -> frozenset[str]:
        """None is known to be: what the source says is taken as it stands, and never mixed."""
        return frozenset()

    @property
    def outside_lane(self) -> frozenset[str]:
        """The same goes for how it was timed."""
        return frozenset()


@dataclass(frozen=True)
class Collection:
    """What one import brought."""

    points: tuple[ImportedPoint, ...]
    format: Literal["kvpress", "csv"]
    provenance: Mapping[str, Any]
    """What the files say about how they came to be."""
    sha256: str
    """Of everything that was read."""
