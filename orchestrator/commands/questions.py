"""Commands that ask a sweep: ``frontier``, ``best``, ``knee``, ``rank`` and so on.

They start neither Ray nor torch nor MLflow, but for ``breaks --inputs``, which makes the examples
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.commands.console import (
    Json,
    Maximum,
    Minimum,
    StoreUrl,
    Sweep,
    Workload,
    open_store,
    pairs,
    show_rows,
)

if TYPE_CHECKING:
    from store.frontiers.bootstrap import Bootstrap
    from store.questions.asked import Question

Confidence = Annotated[
    float, typer.Option(min=0.51, max=0.9999, help="What counts as sure, e.g. 0.95.")
]
Seeds = Annotated[
    Literal["fixed", "drawn"],
    typer.Option(help="drawn: other trained models as well as other examples."),
]
Resamples = Annotated[int, typer.Option(min=1, max=100_000, help="Draws of all examples.")]


def frontier(
    sweep: Sweep,
    workload: Workload = None,
    maximum: Maximum = None,
    minimum: Minimum = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            min=0.51,
            max=0.9999,
            help="Over all seeds, with each configuration's probability of being on it.",
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(min=0, help="As --confidence; gains in quality up to this are worth no cost."),
    ] = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """The points no other point beats, per workload, within budgets."""
    from dashboards import tables
    from dashboards.rows import best_rows, stored_rows

    upper, lower = pairs("--max", maximum), pairs("--min", minimum)
    if confidence is not None or epsilon is not None:
        sure, worthless = confidence or 0.95, epsilon or 0.0
        _frontier_odds(sweep, workload, upper, lower, sure, worthless, as_json, store)
        return
    bounded = bool(upper or lower)
    with open_store(store) as opened:
        if as_json and not bounded:
            rows = stored_rows(opened, sweep, workload)
        else:
            rows = best_rows(opened, sweep, workload, upper, lower)
    show_rows(as_json, tables.frontier_rows(rows), lambda: tables.frontier_table(rows))


def best(
    sweep: Sweep,
    of: Annotated[str, typer.Option(help="Metric: quality, flops, kv, latency ...")] = "quality",
    maximum: Maximum = None,
    minimum: Minimum = None,
    within: Annotated[
        str | None,
        typer.Option(help='Allowed loss of quality: "1%" of the baseline, or "0.01" in its unit.'),
    ] = None,
    confidence: Confidence = 0.95,
    workload: Workload = None,
    seeds: Seeds = "fixed",
    resamples: Resamples = 1000,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """The best configuration within limits, and how sure that is."""
    from dashboards import question_tables
    from store.questions.asked import BestQuestion

    question = BestQuestion(
        workload=workload,
        of=of,
        maximum=pairs("--max", maximum),
        minimum=pairs("--min", minimum),
        within=within,
        bootstrap=_bootstrap(confidence, seeds, resamples),
    )
    rows = _ask(store, sweep, question)
    show_rows(as_json, rows, lambda: question_tables.best_page(rows))


def knee(
    sweep: Sweep,
    workload: Workload = None,
    resamples: Resamples = 1000,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Where paying more begins to buy less."""
    from dashboards import question_tables
    from store.questions.asked import KneeQuestion

    rows = _ask(
        store, sweep, KneeQuestion(workload=workload, bootstrap=_bootstrap(resamples=resamples))
    )
    show_rows(as_json, rows, lambda: question_tables.knee_table(rows))


def rank(
    sweep: Sweep,
    ladder: Annotated[
        str | None, typer.Option(metavar="RATIOS", help="Keep ratios, e.g. 0.5,0.25,0.125.")
    ] = None,
    workload: Workload = None,
    confidence: Confidence = 0.95,
    seeds: Seeds = "fixed",
    resamples: Resamples = 1000,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Methods by their mean quality over a ladder of keep ratios, with the oracle's gap."""
    from dashboards import question_tables
    from store.questions.asked import RankQuestion

    question = RankQuestion(
        workload=workload,
        ladder=_ratios(ladder),
        bootstrap=_bootstrap(confidence, seeds, resamples),
    )
    rows = _ask(store, sweep, question)
    show_rows(as_json, rows, lambda: question_tables.rank_tables(rows))


def hypervolume(
    sweep: Sweep,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=VALUE", help="Worst corner, e.g. flops=1; for all sweeps."),
    ] = None,
    workload: Workload = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """How the volume that the frontier dominates grew over time."""
    from dashboards import question_tables
    from store.questions.asked import HypervolumeQuestion

    corner = pairs("--reference", reference)
    rows = _ask(store, sweep, HypervolumeQuestion(workload=workload, reference=corner))
    show_rows(as_json, rows, lambda: question_tables.hypervolume_tables(rows))


def breaks(
    sweep: Sweep,
    configuration: Annotated[
        str | None,
        typer.Argument(help="Example by example: a trial's id or METHOD@KEEP, e.g. tome@0.25."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Differences in outcome that count. Default: half.")
    ] = None,
    inputs: Annotated[
        bool, typer.Option("--inputs", help="Make the examples again and show them.")
    ] = False,
    workload: Workload = None,
    as_json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Examples that compression breaks and repairs, and those that every method breaks."""
    from dashboards import drill_down_tables
    from store.questions.asked import BreaksQuestion

    question = BreaksQuestion(workload=workload, configuration=configuration, margin=margin)
    rows = _ask(store, sweep, question)
    if inputs:
        from sweeps.examples import with_inputs

        rows = [with_inputs(row) for row in rows]
    table = (
        drill_down_tables.breaks_tables
        if configuration is None
        else drill_down_tables.changed_tables
    )
    show_rows(as_json, rows, lambda: table(rows))


def race(
    sweep: Sweep, workload: Workload = None, as_json: Json = False, store: StoreUrl = None
) -> None:
    """What a race stopped, at which rung and why, and what it saved."""
    from dashboards import race_tables
    from store.races.race_rows import race_rows

    with open_store(store) as opened:
        rows = race_rows(opened, sweep, workload)
    show_rows(as_json, rows, lambda: race_tables.race_tables(rows))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (frontier, best, knee, rank, hypervolume, breaks, race):
        app.command()(command)


def _frontier_odds(
    sweep: str,
    workload: str | None,
    maximum: dict[str, float],
    minimum: dict[str, float],
    confidence: float,
    epsilon: float,
    as_json: bool,
    store: str | None,
) -> None:
    """How likely each configuration is on the frontier; part of ``paretoken frontier``."""
    from dashboards import question_tables
    from store.questions.asked import FrontierQuestion

    question = FrontierQuestion(
        workload=workload,
        maximum=maximum,
        minimum=minimum,
        epsilon=epsilon,
        bootstrap=_bootstrap(confidence),
    )
    rows = _ask(store, sweep, question)
    show_rows(as_json, rows, lambda: question_tables.frontier_tables(rows))


def _ask(store: str | None, sweep: str, question: Question) -> list[dict[str, Any]]:
    from store.questions.answers import ask

    with open_store(store) as opened:
        return ask(opened, sweep, question)


def _bootstrap(
    confidence: float = 0.95, seeds: Literal["fixed", "drawn"] = "fixed", resamples: int = 1000
) -> Bootstrap:
    from store.frontiers.bootstrap import Bootstrap

    return Bootstrap(confidence=confidence, seeds=seeds, resamples=resamples)


def _ratios(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--ladder {text!r}: write keep ratios, e.g. 0.5,0.25,0.125") from None
