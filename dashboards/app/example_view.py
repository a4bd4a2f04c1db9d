"""What is drawn of examples: the list of those that differ, and what was seen of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dash import html

from dashboards.app.comparison import Comparison
from dashboards.app.maps import image, step_map
from dashboards.app.parts import note, number, quality, share, table
from dashboards.app.seen import Seen, Step


def sentence(both: Comparison) -> str:
    """What the first configuration gives against the second."""
    direction = both.paired.direction
    worse, better, equal = (len(both.where(kind)) for kind in ("worse", "better", "equal"))
    low, high = both.interval
    means = [quality(float(mean), direction) for mean in both.paired.means[:2]]
    ends = f"{quality(low, direction)} to {quality(high, direction)}"
    return (
        f"{means[0]} against {means[1]}: difference {quality(both.difference, direction)} "
        f"(95 % interval {ends}). Worse on {worse} examples, better on {better}, equal on {equal}."
    )


def listing(both: Comparison, examples: Sequence[int], total: int) -> Any:
    """Some of ``total`` examples as a table, each a button."""
    if not examples:
        return note("No example.")
    rows = [
        [
            html.Button(f"{e}", id={"type": "example", "number": e}, className="link"),
            *(number(float(outcome)) for outcome in both.outcomes_2E[:, e]),
            f"{both.gains_E[e]:+.3g}",
        ]
        for e in examples
    ]
    more = f" (the first {len(examples)})" if total > len(examples) else ""
    head = ["Example", "this", "other", "gain"]
    return table(head, rows, f"{total} examples{more}: mean outcome over seeds")


def heading(example: int, sides: Sequence[Seen | str]) -> html.Div:
    """Which example it is, and what is small enough of its inputs."""
    known = next((side for side in sides if isinstance(side, Seen)), None)
    facts = known.inputs if known else {}
    said = "; ".join(f"{name}: {_plain(value)}" for name, value in facts.items())
    return html.Div([html.H2(f"Example {example}"), html.P(said, className="sub")])


def drawn(words: str, side: Seen | str, step: str | None) -> html.Section:
    """What one configuration saw of it after a step, or why that cannot be shown."""
    if isinstance(side, str):
        return html.Section([html.H3(words), note(side)], className="half")
    chosen = _at(side, step)
    maps = step_map(side, chosen) if chosen else _untouched(side)
    said = _left(chosen) if chosen else "keeps every token"
    return html.Section(
        [
            html.H3(words),
            html.P(f"gives {_plain(side.answer)}; outcome {side.outcome:.4g}", className="sub"),
            html.P([said, f". {side.remark}" if side.remark else ""], className="sub"),
            html.Div(maps, className="maps"),
        ],
        className="half",
    )


def _left(step: Step) -> str:
    total = len(step.shares_N)
    if step.num_out is None:
        return f"on average over heads, {share(step.kept)} of {total} tokens are held"
    dropped = sum(share_of == 0 for share_of in step.shares_N)
    return f"{step.num_out} tokens left of {total}, {dropped or 'none'} dropped"


def _at(side: Seen, step: str | None) -> Step | None:
    named = {each.name: each for each in side.steps}
    return named.get(step or "", side.steps[-1] if side.steps else None)


def _untouched(side: Seen) -> list[Any]:
    if side.pictures:
        return [image(p.pixels_HW3, f"Image {n}") for n, p in enumerate(side.pictures, 1)]
    return [html.P([html.Span(w, className="token whole") for w in side.words], className="tokens")]


def _plain(value: Any) -> str:
    """A JSON value in few words: rounded, and of a distribution only the largest."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {_plain(each)}" for name, each in value.items() if _is_short(each)
        )
    return value if isinstance(value, str) else json.dumps(value)


def _is_short(value: Any) -> bool:
    return not isinstance(value, list | dict) or len(value) <= 4


def steps_of(sides: Sequence[Seen | str]) -> list[str]:
    """Names of the steps of either side, each once."""
    seen = (side for side in sides if isinstance(side, Seen))
    return list(dict.fromkeys(step.name for side in seen for step in side.steps))
