"""The configurations of a workload as columns that a browser can draw, toggle and turn by itself.

10,000 configurations are a megabyte; whoever changes an axis or hides a method then waits for no
server. A configuration is a point over all its seeds, and its numbers are their means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import methods
from dashboards.rows import variant_labels
from dashboards.styles import PLAIN, Look, looks
from store.frontiers.frontier import Objectives, SeedGroup, across_seeds, on_frontier
from store.records import METRIC_NAMES, Point
from sweeps.metrics import FRACTIONS, METRICS, QUALITY
from sweeps.trial import BASELINE

Columns = dict[str, Any]
_DIGITS: Final = 6
_PRESSES, _OTHER = "kvpress", "other"
_GLYPHS: Final = dict(
    zip(
        ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "pentagon"),
        "●■▲◆▼✚✖⬟",
        strict=True,
    )
) | {"hexagon": "⬢"}


@dataclass(frozen=True)
class Configurations:
    """Those of one workload, in the sweep's order."""

    groups: Sequence[SeedGroup]
    objectives: Objectives
    on_frontier: Sequence[bool]
    """By the means over seeds."""

    @property
    def direction(self) -> str:
        """Which quality is better."""
        return str(self.objectives.get(QUALITY, "maximize"))

    @property
    def cost(self) -> str:
        """The first objective besides quality."""
        return next((name for name in self.objectives if name != QUALITY), "tokens")

    @cached_property
    def labels(self) -> list[str]:
        """What each is called: its method, with what tells it from others of that method."""
        names = variant_labels(self.groups)
        return [names[each.method, each.hyperparameters_json] for each in self.groups]

    @cached_property
    def variants(self) -> dict[str, str]:
        """Families by label, those that compress first in the order of their names."""
        found = {
            label: family_of(each.method)
            for label, each in zip(self.labels, self.groups, strict=True)
        }
        return dict(sorted(found.items(), key=lambda each: (each[1], each[0])))

    @cached_property
    def looks(self) -> dict[str, Look]:
        """How each label is drawn."""
        compared = [label for label in self.variants if label != BASELINE]
        return {BASELINE: PLAIN} | looks(compared)

    @cached_property
    def axes(self) -> dict[str, str]:
        """Metrics that some configuration has, in words; the sweep's objectives first."""
        named = [*self.objectives, QUALITY, *FRACTIONS, *METRIC_NAMES]
        return {
            name: title_of(name)
            for name in dict.fromkeys(named)
            if METRICS[name].role != "evidence" and any(each.spread[name] for each in self.groups)
        }

    @cached_property
    def chosen(self) -> list[str]:
        """Hyperparameters in words."""
        return [_chosen(group) for group in self.groups]

    @cached_property
    def index(self) -> dict[str, int]:
        """Where the configuration of a trial stands."""
        return {trial: i for i, each in enumerate(self.groups) for trial in each.trials}

    def as_columns(self) -> Columns:
        """For the browser: a list per column, names by number."""
        variants, schedules = list(self.variants), _distinct(g.schedule for g in self.groups)
        place = {name: i for i, name in enumerate(variants)}
        return {
            "direction": self.direction,
            "objectives": dict(self.objectives),
            "cost": self.cost,
            "axes": self.axes,
            "fractions": [name for name in self.axes if METRICS[name].relative],
            "variants": variants,
            "families": list(self.variants.values()),
            "looks": [_drawn(self.looks[name]) for name in variants],
            "schedules": schedules,
            "trial": [group.trials[0] for group in self.groups],
            "seeds": [len(group.trials) for group in self.groups],
            "variant": [place[label] for label in self.labels],
            "schedule": [schedules.index(group.schedule) for group in self.groups],
            "keep": [_short(group.keep_ratio) for group in self.groups],
            "chosen": self.chosen,
            "error": [_error(group) for group in self.groups],
            "frontier": [int(on) for on in self.on_frontier],
            "baseline": [int(is_baseline(group)) for group in self.groups],
            "values": {name: self._column(name) for name in self.axes},
            "void": {name: found for name in self.axes if (found := self._void(name))},
        }

    @cached_property
    def as_json(self) -> bytes:
        """The columns, ready to be sent."""
        return json.dumps(self.as_columns(), separators=(",", ":")).encode()

    def _column(self, name: str) -> list[float | None]:
        spreads = (group.spread[name] for group in self.groups)
        return [_short(each.mean) if each else None for each in spreads]

    def _void(self, name: str) -> list[int]:
        """Configurations whose saving is simulated, or whose time was taken outside the lane."""
        return [
            i
            for i, group in enumerate(self.groups)
            if name in group.simulated or name in group.outside_lane
        ]


def configurations_of(points: Sequence[Point], objectives: Objectives) -> Configurations:
    """Of the finished trials of one workload."""
    groups = across_seeds(points)
    return Configurations(groups, objectives, on_frontier(groups, objectives))


def title_of(metric: str) -> str:
    """A metric in words."""
    found = METRICS[metric]
    return f"{found.words} (of uncompressed)" if found.relative else found.words


def glyph_of(look: Look) -> str:
    """A character that looks like the marker."""
    return _GLYPHS.get(look.symbol, "●")


@cache
def _families() -> Mapping[str, str]:
    """Family by method id, from the names of files: nothing is imported, torch least of all."""
    root = Path(methods.__path__[0])
    files = (file for file in root.glob("*/*.py") if file.stem[0] != "_")
    return {file.stem.replace("_", "-"): file.parent.name for file in files}


def family_of(method: str) -> str:
    """The folder that a method lives in."""
    other = _PRESSES if method.startswith(f"{_PRESSES}/") else _OTHER
    return _families().get(method, other)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _drawn(look: Look) -> dict[str, str]:
    return {"colour": look.colour, "symbol": look.symbol, "glyph": glyph_of(look)}


def _chosen(group: SeedGroup) -> str:
    """Hyperparameters in words."""
    values: dict[str, Any] = json.loads(group.hyperparameters_json)
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _error(group: SeedGroup) -> float | None:
    """One standard error, the mean of the seeds': all answered the same examples."""
    spread = group.spread["quality_se"]
    return _short(spread.mean) if spread else None


def is_baseline(group: SeedGroup) -> bool:
    """Whether it is the uncompressed model."""
    return group.method == BASELINE and group.keep_ratio == 1


def _short(value: float) -> float:
    """As many digits as can be seen, so that less has to travel."""
    return float(f"{value:.{_DIGITS}g}")
