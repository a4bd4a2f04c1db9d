"""Answers to questions about a sweep, as rows of plain values, ready for JSON.

Each workload gets an answer of its own, and a configuration is a point over all its seeds::

    ask(store, "quickstart", BestQuestion(maximum={"flops": 0.4}))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from methods.naming import counted
from store.frontiers import uncertainty
from store.frontiers.frontier import SeedGroup
from store.frontiers.paired import Paired, Resampled, UnanswerableError, load
from store.questions import best, history, knee, ladder, loss
from store.questions.asked import (
    BestQuestion,
    BreaksQuestion,
    FrontierQuestion,
    HypervolumeQuestion,
    KneeQuestion,
    Question,
    RankQuestion,
)
from store.questions.drill_down import DrillDown, drill_down, find
from store.questions.limits import within
from store.questions.timing_notes import timing_notes
from store.repository import Store

Row = dict[str, Any]
FEW_CLUSTERS: Final = 10
"""Fewer independent examples than this make intervals rough."""


def ask(store: Store, sweep: str, question: Question) -> list[Row]:
    """Answer for every workload of the sweep, or the question's only one.

    Every row names the ``workload`` and what the answer rests on: ``seeds``, ``examples``,
    ``clusters`` of examples, how many configurations are ``left_out`` for lack of a seed,
    ``notes``, and in ``unanswered`` why a workload has no answer. Raises ValueError for names that
    do not exist, and for a question that no workload can answer.
    """
    workloads = _chosen(load(store, sweep, question.workload), question)
    rows = [
        {**_basis(paired, question), **_answer(store, sweep, paired, question)}
        for paired in workloads
    ]
    unanswered = [row["unanswered"] for row in rows if row["unanswered"] is not None]
    if len(unanswered) == len(rows):
        raise UnanswerableError(unanswered[0])
    return rows


def _answer(store: Store, sweep: str, paired: Paired, question: Question) -> Row:
    try:
        return {**_ANSWERS[question.ask](store, sweep, paired, question), "unanswered": None}
    except UnanswerableError as error:
        return {"unanswered": str(error)}


def _chosen(workloads: list[Paired], question: Question) -> list[Paired]:
    """All workloads; where one configuration is asked for, those that have it."""
    if not isinstance(question, BreaksQuestion) or question.configuration is None:
        return workloads
    holding, error = [], None
    for paired in workloads:
        try:
            find(paired, question.configuration)
            holding.append(paired)
        except ValueError as found:
            error = error or found
    if error is not None and not holding:
        raise error
    return holding


def _basis(paired: Paired, question: Question) -> Row:
    examples = paired.outcomes_PSE.shape[2]
    clusters = int(paired.clusters_E.max()) + 1
    notes = []
    if clusters < FEW_CLUSTERS:
        groups = counted(clusters, "independent group")
        notes.append(f"only {groups} of examples: intervals are rough")
    if paired.left_out:
        left_out, seeds = counted(len(paired.left_out), "configuration"), map(str, paired.seeds)
        notes.append(f"{left_out} left out: not yet measured with seeds {', '.join(seeds)}")
    notes += timing_notes(paired, _metrics(paired, question))
    if paired.stopped:
        notes.append(
            f"{counted(len(paired.stopped), 'configuration')} stopped early by a race: paretoken "
            "race says where and why"
        )
    return {
        "workload": paired.workload,
        "objectives": dict(paired.objectives),
        "seeds": list(paired.seeds),
        "examples": examples,
        "clusters": clusters,
        "left_out": len(paired.left_out),
        "notes": notes,
    }


def _metrics(paired: Paired, question: Question) -> set[str]:
    """Metrics that an answer rests on."""
    named = {*paired.objectives}
    for name in ("maximum", "minimum"):
        named |= {*getattr(question, name, {})}
    return named | ({question.of} if isinstance(question, BestQuestion) else set())


def _frontier(_: Store, __: str, paired: Paired, question: FrontierQuestion) -> Row:
    among = within(paired, question.maximum, question.minimum)
    judged = uncertainty.judge(Resampled(paired, question.bootstrap), question.epsilon, among)
    rows = []
    for each in judged:
        numbers = {key: getattr(each, key) for key in _JUDGED}
        rows.append({**_described(each.configuration, each.quality), **numbers})
    return {
        "maximum": question.maximum,
        "minimum": question.minimum,
        "epsilon": question.epsilon,
        "confidence": question.bootstrap.confidence,
        "resamples": question.bootstrap.resamples,
        "configurations": rows,
    }


def _best(_: Store, __: str, paired: Paired, question: BestQuestion) -> Row:
    allowed = None if question.within is None else loss.Loss.parse(question.within)
    limits = best.Limits(question.maximum, question.minimum, allowed)
    found = best.best(Resampled(paired, question.bootstrap), question.of, limits)
    return {
        "of": question.of,
        "maximum": question.maximum,
        "minimum": question.minimum,
        "within": question.within,
        "confidence": question.bootstrap.confidence,
        "eligible": found.eligible,
        "chosen": _at(paired, found.chosen),
        "sure": found.sure,
        "sure_of_all": found.sure_of_all,
        "probability": found.probability,
        "ties": [_at(paired, index) for index in found.ties],
        "nearest": _at(paired, found.nearest),
        "provable": None
        if allowed is None
        else loss.provable(paired, question.bootstrap.confidence),
    }


def _knee(_: Store, __: str, paired: Paired, question: KneeQuestion) -> Row:
    found = knee.knee(Resampled(paired, question.bootstrap))
    return {
        "cost": paired.cost,
        "chosen": _at(paired, found.chosen if found else None),
        "height": found.height if found else None,
        "probability": found.probability if found else None,
    }


def _rank(_: Store, __: str, paired: Paired, question: RankQuestion) -> Row:
    ranking = ladder.rank(Resampled(paired, question.bootstrap), question.ladder)
    return {
        "rungs": list(ranking.rungs),
        "confidence": question.bootstrap.confidence,
        "methods": [_with_hyperparameters(asdict(each)) for each in ranking.methods],
        "incomplete": [
            {"method": method, "hyperparameters": json.loads(text), "schedule": schedule}
            for method, text, schedule in ranking.left_out
        ],
    }


def _hypervolume(store: Store, sweep: str, paired: Paired, question: HypervolumeQuestion) -> Row:
    found = history.history(paired, store.times(sweep), question.reference)
    steps = [
        {
            "seconds": step.seconds,
            "configurations": step.configurations,
            "volume": step.volume,
            "added": _at(paired, step.index),
        }
        for step in found.steps
    ]
    return {
        "reference": found.corner,
        "configurations": found.configurations,
        "seconds": found.seconds,
        "volume": found.steps[-1].volume if found.steps else 0.0,
        "steps": steps,
    }


def _breaks(store: Store, _: str, paired: Paired, question: BreaksQuestion) -> Row:
    compared = drill_down(paired, question.margin)
    spec = store.trial_spec(paired.configurations[0].trials[0])
    shared = {
        "task": spec.task.model_dump(),
        "data": spec.data,
        "margin": compared.margin,
        "baseline": _at(paired, paired.baseline),
    }
    if question.configuration is not None:
        return {**shared, **_changed(compared, find(paired, question.configuration))}
    tallies = [
        {**asdict(each), "configuration": _at(paired, each.index)} for each in compared.tallies()
    ]
    return {**shared, "tallies": tallies, "hardest": [asdict(each) for each in compared.hardest()]}


def _changed(compared: DrillDown, index: int) -> Row:
    return {
        "configuration": _at(compared.paired, index),
        "examples_changed": [asdict(each) for each in compared.changed(index)],
    }


_JUDGED = ("low", "high", "difference", "on_frontier", "probability", "verdict", "group")
_ANSWERS: Final[Mapping[str, Callable[[Store, str, Paired, Any], Row]]] = {
    "frontier": _frontier,
    "best": _best,
    "knee": _knee,
    "rank": _rank,
    "hypervolume": _hypervolume,
    "breaks": _breaks,
}


def _at(paired: Paired, index: int | None) -> Row | None:
    if index is None:
        return None
    return _described(paired.configurations[index], float(paired.means[index]))


def _described(group: SeedGroup, quality: float) -> Row:
    """A configuration as one JSON object; metrics are means over its seeds."""
    return {
        "method": group.method,
        "hyperparameters": json.loads(group.hyperparameters_json),
        "keep_ratio": group.keep_ratio,
        "keep_label": group.keep_label,
        "schedule": group.schedule,
        "seeds": list(group.seeds),
        "trials": list(group.trials),
        "quality": quality,
        "metrics": group.metrics,
        "simulated": sorted(group.simulated),
    }


def _with_hyperparameters(row: Row) -> Row:
    return {**row, "hyperparameters": json.loads(row.pop("hyperparameters_json"))}
