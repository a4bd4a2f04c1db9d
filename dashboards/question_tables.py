"""Answers to questions for the terminal, from the rows of :func:`store.questions.answers.ask`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from dashboards.fitting import Column, FittingTable
from dashboards.question_parts import (
    SHOWN,
    Row,
    basis,
    configurations,
    labels,
    name,
    pages,
)
from dashboards.words import decimals
from methods.naming import short

_VERDICTS: Final = {"in": "in", "open": "open", "out": ""}


def frontier_tables(rows: Sequence[Row]) -> RenderableType:
    """Configurations that are or may be on the frontier, by rising quality."""
    return pages(rows, frontier_table, FRONTIER_LEGEND)


def best_page(rows: Sequence[Row]) -> RenderableType:
    """What was chosen, a sentence on how sure that is, and what ties with it."""
    return pages(rows, _best_page, "Costs are fractions of the uncompressed model's.")


def knee_table(rows: Sequence[Row]) -> RenderableType:
    """The knee of every workload."""
    return pages(rows, _knee_page, "")


def rank_tables(rows: Sequence[Row]) -> RenderableType:
    """Methods by their area, the best first."""
    return pages(rows, rank_table, RANK_LEGEND)


def hypervolume_tables(rows: Sequence[Row]) -> RenderableType:
    """What enlarged the volume, and when."""
    return pages(rows, _hypervolume_table, "")


FRONTIER_LEGEND: Final = (
    "on: share of the resamples in which it is on the frontier; in: sure, open: not decided. "
    "Equal groups cannot be told apart in quality: take the cheapest. low..high and the difference "
    "to the uncompressed model: intervals over examples. More with --json."
)
RANK_LEGEND: Final = (
    "area: mean quality over the ladder, over log2 of the keep ratio; best: share of the resamples "
    "in which it is the best; equal groups cannot be told apart. oracle: the best keep ratio for "
    "every example, what that gains over the best single one, and the share it keeps; methods: "
    "what the best method for every example gains. Both are upper bounds."
)


def frontier_table(row: Row) -> list[RenderableType]:
    """Of one workload, those that are or may be on its frontier."""
    alive = [each for each in row["configurations"] if each["verdict"] != "out"]
    ranked = sorted(alive, key=lambda each: (each["quality"], each["trials"][0]))
    epsilon = f", epsilon {row['epsilon']:g}" if row["epsilon"] else ""
    title = (
        f"{row['workload']}: {sum(each['verdict'] == 'in' for each in alive)} in, "
        f"{sum(each['verdict'] == 'open' for each in alive)} open of "
        f"{len(row['configurations'])} at {row['confidence']:.0%}{epsilon} ({basis(row)})"
    )
    return [
        FittingTable(
            title,
            [
                *configurations(ranked, row),
                Column("low..high", [_range(each["low"], each["high"]) for each in ranked], 80),
                Column("to baseline", [_difference(each["difference"]) for each in ranked], 70),
                Column("on", [_share(each["probability"]) for each in ranked]),
                Column("", [_VERDICTS[each["verdict"]] for each in ranked], justify="left"),
                Column("group", [str(each["group"] or "") for each in ranked]),
                Column("trial", [short(each["trials"][0]) for each in ranked], 40, "left"),
            ],
        )
    ]


def _best_page(row: Row) -> list[RenderableType]:
    title = f"{row['workload']}: {_asked(row)} ({basis(row)})"
    if row["chosen"] is None:
        nearest = f"; nearest: {name(row['nearest'])}" if row["nearest"] else ""
        return [Text(title, style="bold"), Text(f"Nothing keeps to that{nearest}"), Text()]
    shown = [row["chosen"], *row["ties"][: SHOWN - 1]]
    columns = [
        Column("", ["*", *("ties" for _ in shown[1:])], justify="left"),
        *configurations(shown, row, row["of"], *row["maximum"], *row["minimum"]),
        Column("trial", [short(each["trials"][0]) for each in shown], 40, "left"),
    ]
    return [FittingTable(title, columns), *map(Text, _how_sure(row)), Text()]


def _asked(row: Row) -> str:
    words = [f"best {row['of']}"]
    words += [f"{metric} <= {bound:,.10g}" for metric, bound in row["maximum"].items()]
    words += [f"{metric} >= {bound:,.10g}" for metric, bound in row["minimum"].items()]
    if row["within"] is not None:
        words.append(f"within {row['within']} of the baseline, {row['confidence']:.0%} sure")
    return ", ".join(words)


def _how_sure(row: Row) -> list[str]:
    lines = [f"The best of {row['eligible']} that keep to the limits."]
    if row["probability"] is not None:
        more = len(row["ties"]) - SHOWN + 1
        lines[0] += f" Best of them in {row['probability']:.0%} of the resamples"
        lines[0] += f"; {more} more cannot be told apart from it." if more > 0 else "."
    if row["sure"] is not None:
        lines[0] += f" {row['sure']:.1%} sure that it loses no more than {row['within']}"
        lines[0] += f"; {row['sure_of_all']:.1%} with the choice counted in."
    if row["provable"] is not None:
        lines.append(
            f"The smallest loss that {row['clusters']} examples can rule out at "
            f"{row['confidence']:.0%}: {row['provable']:.3f}."
        )
    return lines


def _knee_page(row: Row) -> list[RenderableType]:
    title = f"{row['workload']}: knee of quality over {row['cost']} ({basis(row)})"
    if row["chosen"] is None:
        return [Text(title, style="bold"), Text("None: no point lies above the ends' line"), Text()]
    columns = [
        *configurations([row["chosen"]], row),
        Column("height", [f"{row['height']:.3f}"]),
        Column("is the knee", [_share(row["probability"])]),
        Column("trial", [short(row["chosen"]["trials"][0])], 40, "left"),
    ]
    return [FittingTable(title, columns)]


def rank_table(row: Row) -> list[RenderableType]:
    """Of one workload, and the methods that lack a rung."""
    methods = row["methods"]
    qualities = zip(*(each["qualities"] for each in methods), strict=True)
    columns = [
        Column("group", [str(each["group"]) for each in methods]),
        Column("method", labels(methods), justify="left"),
        Column("schedule", [each["schedule"] for each in methods], 60, "left"),
        Column("area", [decimals(each["area"]) for each in methods]),
        Column("low..high", [_range(each["low"], each["high"]) for each in methods], 80),
        Column("best", [_share(each["probability"]) for each in methods]),
        *(
            Column(f"at {rung:g}", [decimals(value) for value in values], 75)
            for rung, values in zip(row["rungs"], qualities, strict=False)
        ),
        Column("oracle", [decimals(each["oracle"]) for each in methods], 55),
        Column("gap", [decimals(each["oracle_gap"]) for each in methods], 90),
        Column("keep", [decimals(each["oracle_keep"]) for each in methods], 50),
        Column("methods", [decimals(each["method_gap"]) for each in methods], 65),
    ]
    rungs = ", ".join(f"{rung:g}" for rung in row["rungs"])
    title = f"{row['workload']}: {len(methods)} methods at {rungs} ({basis(row)})"
    names = dict.fromkeys(each["method"] for each in row["incomplete"])
    lacking = [Text(f"Without some rung: {', '.join(names)}"), Text()] if names else []
    return [FittingTable(title, columns), *lacking]


def _hypervolume_table(row: Row) -> list[RenderableType]:
    corner = ", ".join(f"{metric} {value:g}" for metric, value in row["reference"].items())
    title = (
        f"{row['workload']}: {row['volume']:.4f} after {row['configurations']} configurations in "
        f"{row['seconds']:,.0f} s, from {corner}"
    )
    steps, added = row["steps"], [step["added"] for step in row["steps"]]
    columns = [
        Column("seconds", [f"{step['seconds']:,.1f}" for step in steps]),
        Column("measured", [str(step["configurations"]) for step in steps]),
        Column("volume", [f"{step['volume']:.4f}" for step in steps]),
        *configurations(added, row),
    ]
    return [FittingTable(title, columns)]


def _share(value: float) -> str:
    return f"{value:.0%}" if value in (0, 1) or 0.005 <= value < 0.995 else f"{value:.1%}"


def _range(low: float, high: float) -> str:
    return f"{low:.3f}..{high:.3f}"


def _difference(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:+.3f}..{ends[1]:+.3f}"
