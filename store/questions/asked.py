"""Questions to a sweep, as people ask them: plain data.

The command line builds a question from options, a notebook in Python, a server from a request's
JSON; :func:`store.questions.answers.ask` answers all of them::

    BestQuestion(maximum={"flops": 0.4})
    BestQuestion(of="flops", within="1%")
    TypeAdapter(Question).validate_python({"ask": "knee"})
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.frontiers.bootstrap import Bootstrap
from sweeps.metrics import QUALITY

Limit = Annotated[float, Field(allow_inf_nan=False)]


class _Question(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str | None = Field(default=None, description="Only this one.")
    bootstrap: Bootstrap = Field(default=Bootstrap(), description="How examples are resampled.")


class _Bounded(_Question):
    maximum: dict[str, Limit] = Field(default={}, description="Largest values by metric.")
    minimum: dict[str, Limit] = Field(default={}, description="Smallest values by metric.")


class FrontierQuestion(_Bounded):
    """How likely is each configuration on the frontier?"""

    ask: Literal["frontier"] = "frontier"
    epsilon: Limit = Field(
        default=0.0, description="Differences in quality that are worth no cost, 0 or more."
    )


class BestQuestion(_Bounded):
    """Which configuration is best in something, within limits?"""

    ask: Literal["best"] = "best"
    of: str = Field(default=QUALITY, description="The metric, e.g. quality, flops or kv.")
    within: str | None = Field(
        default=None, description='Allowed loss: "1%" of the baseline, or "0.01" in its unit.'
    )


class KneeQuestion(_Question):
    """Where does paying more begin to buy less?"""

    ask: Literal["knee"] = "knee"


class RankQuestion(_Question):
    """Which method is best over a ladder of keep ratios?"""

    ask: Literal["rank"] = "rank"
    ladder: tuple[float, ...] | None = Field(
        default=None, description="Keep ratios. Default: 0.5, 0.25, 0.125 and 0.0625."
    )


class HypervolumeQuestion(_Question):
    """How did the dominated volume grow over time?"""

    ask: Literal["hypervolume"] = "hypervolume"
    reference: dict[str, Limit] = Field(
        default={}, description="Worst corner by objective. Default: 0 and the baseline's cost."
    )


class BreaksQuestion(_Question):
    """Which examples does compression break, and which does it repair?"""

    ask: Literal["breaks"] = "breaks"
    configuration: str | None = Field(
        default=None, description="Only this one, example by example: a trial's id or METHOD@KEEP."
    )
    margin: Limit | None = Field(
        default=None, description="Differences in outcome that count, above 0. Default: half."
    )


Question = Annotated[
    FrontierQuestion
    | BestQuestion
    | KneeQuestion
    | RankQuestion
    | HypervolumeQuestion
    | BreaksQuestion,
    Field(discriminator="ask"),
]
