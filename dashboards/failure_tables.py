"""What went wrong in a sweep, kind by kind: where, why, what was done and what people can do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from dashboards.words import some
from sweeps.failures import ADVICE, DONE, FailureKind

if TYPE_CHECKING:
    from store.records import FailedAttempt

Json = dict[str, Any]
_FRAME: Final = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_CAUSE: Final = 200
"""Characters of a cause; all of it is in the attempt."""


def failure_groups(sweep: str, attempts: Iterable[FailedAttempt]) -> list[Json]:
    """Attempts of one kind and cause on one device as one JSON object, by kind."""
    groups: dict[tuple[FailureKind, str, str], list[FailedAttempt]] = {}
    for attempt in attempts:
        key = attempt.kind, attempt.device or attempt.node, cause(attempt)
        groups.setdefault(key, []).append(attempt)
    order = list(FailureKind)
    ranked = sorted(groups.items(), key=lambda item: (order.index(item[0][0]), -len(item[1])))
    return [_group(sweep, *key, members) for key, members in ranked]


def cause(attempt: FailedAttempt) -> str:
    """One line: the error's first, and for a bug the place in the code."""
    lines = attempt.error.strip().splitlines() or [attempt.kind.value]
    first = lines[0] if len(lines[0]) <= _CAUSE else f"{lines[0][: _CAUSE - 1]}…"
    frames = _FRAME.findall(attempt.error) if attempt.kind is FailureKind.BUG else []
    return (
        f"{first} ({'/'.join(frames[-1][0].split('/')[-2:])}:{frames[-1][1]})" if frames else first
    )


def _group(
    sweep: str, kind: FailureKind, device: str, why: str, members: Sequence[FailedAttempt]
) -> Json:
    state_of = {each.trial: each.state.value if each.state else "open" for each in members}
    return {
        "sweep": sweep,
        "kind": kind.value,
        "attempts": len({(each.trial, each.started_at) for each in members}),
        "trials": dict(Counter(state_of.values())),
        "methods": list(dict.fromkeys(each.method for each in members)),
        "nodes": list(dict.fromkeys(each.node for each in members)),
        "device": device,
        "cause": why,
        "done": dict(Counter(each.remedy.value for each in members if each.remedy)),
        "advice": _advice(kind, [*state_of], set(state_of.values())),
        "examples": [*state_of][:3],
    }


def _advice(kind: FailureKind, trials: Sequence[str], states: set[str]) -> str:
    if states == {"finished"}:
        return "nothing to do: finished since"
    return ADVICE[kind].replace("TRIAL", trials[0])


def failures_table(groups: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A line for each kind, cause and device; below it, for each kind, what to do."""
    several = len({group["sweep"] for group in groups}) > 1
    columns = [
        Column("sweep", [group["sweep"] * several for group in groups], justify="left", folds=True),
        Column("kind", [group["kind"] for group in groups], justify="left"),
        Column("attempts", [f"{group['attempts']:,}" for group in groups]),
        Column("trials now", [_counted(group["trials"]) for group in groups], justify="left"),
        Column("device", [group["device"] for group in groups], 60, "left"),
        Column("methods", [some(group["methods"]) for group in groups], 70, "left", folds=True),
        Column("cause", [group["cause"] for group in groups], justify="left", folds=True),
        Column("done", [_done(group["done"]) for group in groups], 80, "left", folds=True),
    ]
    advice = dict.fromkeys(f"{group['kind']}: {group['advice']}" for group in groups)
    return Group(FittingTable("Failures, by kind", columns), *map(Text, advice))


def _counted(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in states.items())


def _done(remedies: Mapping[str, int]) -> str:
    words = {remedy.value: sentence for remedy, sentence in DONE.items()}
    return "; ".join(f"{words[name]} ({count:,})" for name, count in remedies.items())
