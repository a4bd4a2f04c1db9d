"""How a sweep looks for its frontier: a grid, a race, or suggestions of a search algorithm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    field_validator,
)

from sweeps.mistakes import Part, expected, refuse, show, unknown_name, wrong
from sweeps.schema_parts import AsWritten

SHARES: Final = 'a share of the examples above 0 up to 1, such as 0.25 or "1/4"'
DEFAULT_RUNGS: Final = tuple(Fraction(n, 16) for n in (2, 3, 4, 6, 8, 12, 16))
"""From an eighth of the examples to all of them."""
ALGORITHMS: Final = {
    "optuna": "Tree-structured Parzen estimators over several objectives, from Optuna.",
    "nsga2": "NSGA-II, an evolutionary algorithm, from Optuna; for thousands of suggestions.",
    "random": "Every suggestion is drawn at random: what the others have to beat.",
}
"""Search algorithms that know several objectives."""
SINGLE: Final = ("ax", "bayesopt", "bohb", "hebo", "hyperopt", "nevergrad", "zoopt")
"""Algorithms of ray.tune.search that look for the best of one number alone."""


def _share(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refuse(wrong(expected(SHARES, value), value=value))
    try:
        share = Fraction(value.replace(" ", "") if isinstance(value, str) else repr(value))
    except (ValueError, ZeroDivisionError):
        raise refuse(wrong(expected(SHARES, value), value=value)) from None
    if not 0 < share <= 1:
        raise refuse(wrong(f"a share is above 0 and at most 1, got {show(value)}", value=value))
    return share


def _share_schema() -> dict[str, Any]:
    fraction = r"^\s*([0-9]+\s*/\s*[1-9][0-9]*|0?\.[0-9]+|1)\s*$"
    return {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            {"type": "string", "pattern": fraction, "examples": ["1/8"]},
        ]
    }


Share = Annotated[Fraction, PlainValidator(_share), PlainSerializer(str), AsWritten(_share_schema)]


class Grid(Part):
    """Every combination of the axes, whole."""

    strategy: Literal["grid"] = Field(default="grid", description="Every combination.")


class Race(Part):
    """Every combination on a few examples, and on more only while its place is open."""

    strategy: Literal["race"] = Field(description="Growing shares for what is still open.")
    epsilon: Annotated[float, Strict()] = Field(
        default=0.01, ge=0, description="So much quality, in its unit, is worth no cost at all."
    )
    confidence: Annotated[float, Strict()] = Field(
        default=0.95, gt=0.5, lt=1, description="What counts as sure."
    )
    rungs: tuple[Share, ...] = Field(
        default=DEFAULT_RUNGS,
        min_length=1,
        description="Shares of the examples after which is decided who goes on.",
    )
    random_seed: Annotated[int, Strict()] = Field(
        default=0, ge=0, lt=2**31, description="Equal seeds resample alike."
    )

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
        """Each above the one before; the last is everything, written or not."""
        for index, (before, after) in enumerate(itertools.pairwise(rungs), 1):
            if after <= before:
                sentence = f"rungs must rise: {after} follows {before}"
                raise refuse(wrong(sentence, (index,), str(after)))
        return rungs if rungs[-1] == 1 else (*rungs, Fraction(1))

    def sizes(self, num_examples: int, batch_size: int, least: int) -> tuple[int, ...]:
        """Examples at every rung, rising to ``num_examples``.

        More than a batch is made up of whole ones, because only these can be kept when an
        evaluation goes on; ``least`` is what the task can do with.
        """
        return tuple(
            sorted({_examples(rung, num_examples, batch_size, least) for rung in self.rungs})
        )


class Tune(Part):
    """Suggestions of a search algorithm, between the ends of every axis."""

    strategy: Literal["tune"] = Field(description="Suggestions of a search algorithm.")
    algorithm: str = Field(default="optuna", description="Who suggests.")
    num_trials: Annotated[int, Strict()] = Field(
        default=100, ge=1, le=100_000, description="Suggestions for every workload."
    )
    at_once: Annotated[int, Strict()] = Field(
        default=8,
        ge=1,
        le=4096,
        description="Suggestions under way; each knows the results of all but so many before it.",
    )
    random_seed: Annotated[int, Strict()] = Field(
        default=0, ge=0, lt=2**31, description="Equal seeds suggest alike."
    )

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in ALGORITHMS:
            return name
        if name in SINGLE:
            several = ", ".join(ALGORITHMS)
            sentence = f"{name!r} looks for the best of one number; a frontier needs {several}"
            raise refuse(wrong(sentence, value=name, choices=ALGORITHMS))
        raise refuse(unknown_name("algorithm", name, ALGORITHMS))


Search = Grid | Race | Tune
STRATEGIES: Final[Mapping[str, type[Grid] | type[Race] | type[Tune]]] = {
    "grid": Grid,
    "race": Race,
    "tune": Tune,
}


def _parsed(value: Any) -> Search:
    """A search as a sweep file writes it: its name, or a mapping with ``strategy``."""
    if isinstance(value, Grid | Race | Tune):
        return value
    content = {"strategy": value} if isinstance(value, str) else value
    if not isinstance(content, dict):
        raise refuse(wrong(expected("{strategy: grid, race or tune}", value), value=value))
    if "strategy" not in content:
        raise refuse(wrong("missing key 'strategy'", value=value, at_key=True))
    strategy = content["strategy"]
    loc = ("strategy",) if isinstance(value, dict) else ()
    if not isinstance(strategy, str):
        raise refuse(wrong(expected("text", strategy), loc, strategy))
    if strategy not in STRATEGIES:
        raise refuse(unknown_name("strategy", strategy, STRATEGIES, loc))
    return STRATEGIES[strategy].model_validate(content)


def _write(search: Search) -> dict[str, Any]:
    return search.model_dump(mode="json")


def _examples(share: Fraction, num_examples: int, batch_size: int, least: int) -> int:
    wanted = max(least, math.ceil(share * num_examples))
    if wanted > batch_size:
        wanted = -(-wanted // batch_size) * batch_size
    return min(wanted, num_examples)


def _schema() -> dict[str, Any]:
    tune = Tune.model_json_schema()
    tune["properties"]["algorithm"] = {
        "description": "Who suggests.",
        "oneOf": [{"const": name, "description": text} for name, text in ALGORITHMS.items()],
    }
    grid = Grid.model_json_schema() | {"required": ["strategy"]}
    return {
        "description": "How the frontier is looked for.",
        "anyOf": [{"enum": list(STRATEGIES)}, grid, Race.model_json_schema(), tune],
    }


SearchItem = Annotated[Search, PlainValidator(_parsed), PlainSerializer(_write), AsWritten(_schema)]
