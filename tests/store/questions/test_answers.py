"""Questions to real stores: what was recorded comes back as answers ready for JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from store.frontiers.bootstrap import Bootstrap
from store.questions.answers import ask
from store.questions.asked import (
    BestQuestion,
    BreaksQuestion,
    FrontierQuestion,
    HypervolumeQuestion,
    KneeQuestion,
    Question,
    RankQuestion,
)
from store.repository import Store
from tests.store.asked import BASE, NUM, SEEDS, record, trial

QUICK = Bootstrap(resamples=100)


@pytest.fixture
def sweep(store: Store) -> str:
    return record(store)


def answers(store: Store, question: Question) -> dict[str, dict[str, Any]]:
    """By workload, as they look after a journey through JSON."""
    rows: list[dict[str, Any]] = json.loads(json.dumps(ask(store, "asked", question)))
    return {row["workload"]: row for row in rows}


def test_outcomes_and_clusters_come_back(store: Store, sweep: str) -> None:
    points = store.points(sweep, "text")
    frame = store.outcomes(points[0].trial)
    assert list(frame.columns) == ["example", "outcome", "cluster"]
    assert frame["cluster"].tolist() == [index // 10 for index in range(NUM)]
    assert list(store.outcomes(store.points(sweep, "digits")[0].trial).columns) == [
        "example",
        "outcome",
    ]
    both = store.all_outcomes([points[0].trial, points[1].trial, "unknown"])
    assert set(both) == {point.trial for point in points}
    assert store.trial_spec(points[0].trial).task.id == "text"
    with pytest.raises(ValueError, match="no sweep has planned"):
        store.trial_spec("unknown")


def test_the_frontier_with_its_uncertainty(store: Store, sweep: str) -> None:
    rows = answers(store, FrontierQuestion(bootstrap=QUICK))
    digits = rows["digits"]
    assert (digits["seeds"], digits["examples"], digits["clusters"]) == ([0, 1], NUM, NUM)
    by_name = {(c["method"], c["keep_ratio"]): c for c in digits["configurations"]}
    assert by_name["tome", 0.5]["verdict"] == "in"
    assert by_name["random", 0.5]["probability"] == 0
    assert by_name["tome", 0.25]["trials"] == [trial("tome", 0.25, s).id for s in SEEDS]
    assert rows["text"]["clusters"] == 6
    assert "only 6 independent groups" in rows["text"]["notes"][0]
    assert all(c["difference"] is None for c in rows["text"]["configurations"])
    cheap = answers(store, FrontierQuestion(bootstrap=QUICK, maximum={"flops": 0.3}))
    assert {c["keep_ratio"] for c in cheap["digits"]["configurations"]} == {0.25}


def test_each_workload_is_answered_or_says_why_not(store: Store, sweep: str) -> None:
    rows = answers(store, BestQuestion(of="flops", within="15%", bootstrap=QUICK))
    chosen = rows["digits"]["chosen"]
    assert (chosen["method"], chosen["keep_ratio"]) == ("tome", 0.5)
    assert rows["digits"]["unanswered"] is None
    assert "no uncompressed model" in rows["text"]["unanswered"]
    with pytest.raises(ValueError, match="no uncompressed model"):
        ask(store, sweep, BestQuestion(workload="text", within="1%"))


def test_breaks_are_listed_with_the_task_that_made_them(store: Store, sweep: str) -> None:
    row = answers(store, BreaksQuestion())["digits"]
    assert row["task"]["id"] == "digits"
    tallies = {
        (t["configuration"]["method"], t["configuration"]["keep_ratio"]): t for t in row["tallies"]
    }
    assert tallies["tome", 0.25]["breaks"] == int(BASE[:, :5].sum())
    assert tallies["tome", 0.25]["repairs"] == 0
    lost = {hard["keep_ratio"]: hard["lost"] for hard in row["hardest"]}
    assert lost[0.25] == [e for e in (0, 2, 4) if BASE[:, e].any()]
    only = answers(store, BreaksQuestion(configuration="tome@0.5"))
    assert list(only) == ["digits", "text"]
    changed = only["digits"]["examples_changed"]
    assert [(each["example"], each["change"], each["seeds"]) for each in changed] == [
        (0, "breaks", [0, 1])
    ]
    assert "no uncompressed model" in only["text"]["unanswered"]


def test_volume_grows_as_trials_finish(store: Store, sweep: str) -> None:
    row = answers(store, HypervolumeQuestion(workload="digits"))["digits"]
    assert row["reference"] == {"quality": 0.0, "flops": 1.0}
    seconds = [step["seconds"] for step in row["steps"]]
    assert seconds == sorted(seconds)
    # The second seed begins with the sixth trial; tome at 0.5 is its second.
    assert seconds[0] == 10 * 6 + 5
    fixed = HypervolumeQuestion(workload="digits", reference={"flops": 2.0})
    assert answers(store, fixed)["digits"]["volume"] > row["volume"]


def test_methods_are_ranked_and_knees_found(store: Store, sweep: str) -> None:
    row = answers(store, RankQuestion(workload="digits", bootstrap=QUICK))["digits"]
    assert row["rungs"] == [0.5, 0.25]
    assert [each["method"] for each in row["methods"]] == ["tome", "random"]
    assert row["methods"][0]["probability"] == 1
    knees = answers(store, KneeQuestion(bootstrap=QUICK))
    assert knees["digits"]["cost"] == "flops"


@pytest.mark.parametrize("kind", ["frontier", "best", "knee", "rank", "hypervolume", "breaks"])
def test_questions_travel_as_json(store: Store, sweep: str, kind: str) -> None:
    question: Question = TypeAdapter(Question).validate_python({"ask": kind})
    assert answers(store, question)["digits"]["unanswered"] is None


def test_a_question_that_is_none_is_refused() -> None:
    adapter: TypeAdapter[Question] = TypeAdapter(Question)
    for wrong in (
        {"ask": "why"},
        {"ask": "knee", "of": "kv"},
        {"ask": "best", "maximum": {"kv": "x"}},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_names_that_do_not_exist_are_answered_with_the_nearest(store: Store, sweep: str) -> None:
    with pytest.raises(ValueError, match="did you mean 'asked'"):
        ask(store, "aksed", KneeQuestion())
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        ask(store, sweep, KneeQuestion(workload="digit"))
    with pytest.raises(ValueError, match="did you mean 'flops'"):
        ask(store, sweep, BestQuestion(maximum={"flop": 1.0}))


def test_a_sweep_without_results_says_so(store: Store) -> None:
    planned = [("digits", "0.5", trial("tome", 0.5, 0))]
    store.begin_sweep("empty", "", {"workloads": {"digits": {"objectives": {}}}}, planned, [])
    with pytest.raises(ValueError, match="no finished trials yet"):
        ask(store, "empty", KneeQuestion())
