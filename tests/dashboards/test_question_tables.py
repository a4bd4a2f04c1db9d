"""Answers for the terminal: they fit, nothing is cut, and they say what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import RenderableType

from dashboards import drill_down_tables, question_tables
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
from tests.dashboards.helpers import text
from tests.store.asked import record

QUICK = Bootstrap(resamples=100)
Page = Callable[[list[dict[str, Any]]], RenderableType]
PAGES: dict[str, tuple[Question, Page]] = {
    "frontier": (FrontierQuestion(bootstrap=QUICK), question_tables.frontier_tables),
    "best": (BestQuestion(bootstrap=QUICK), question_tables.best_page),
    "within": (BestQuestion(of="flops", within="15%"), question_tables.best_page),
    "knee": (KneeQuestion(bootstrap=QUICK), question_tables.knee_table),
    "rank": (RankQuestion(bootstrap=QUICK), question_tables.rank_tables),
    "hypervolume": (HypervolumeQuestion(), question_tables.hypervolume_tables),
    "breaks": (BreaksQuestion(), drill_down_tables.breaks_tables),
    "changed": (BreaksQuestion(configuration="tome@0.25"), drill_down_tables.changed_tables),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("asked")
    with Store(f"sqlite:///{folder}/paretoken.db") as opened:
        record(opened)
        yield opened


def printed(store: Store, name: str, width: int = 160) -> str:
    question, page = PAGES[name]
    return text(page(ask(store, "asked", question)), width)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", PAGES)
def test_answers_fit_the_terminal_and_nothing_is_cut(store: Store, name: str, width: int) -> None:
    lines = printed(store, name, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_the_frontier_says_who_is_in_and_who_is_open(store: Store) -> None:
    shown = printed(store, "frontier")
    assert "digits: " in shown
    assert "at 95% (60 examples, 2 seeds)" in shown
    assert "(60 examples in 6 clusters, 1 seed)" in shown
    assert "Note: only 6 independent groups of examples" in shown
    tome = next(line for line in shown.splitlines() if line.startswith("tome") and "0.5 " in line)
    assert "100% in" in tome


def test_an_answer_says_how_sure_it_is(store: Store) -> None:
    shown = printed(store, "within")
    assert "* tome" in shown
    assert "sure that it loses no more than 15%" in shown
    assert "with the choice counted in" in shown
    assert "The smallest loss that 60 examples can rule out at 95%: 0.049." in shown
    assert "text: workload 'text' has no uncompressed model" in shown


def test_what_breaks_is_counted_and_listed(store: Store) -> None:
    shown = printed(store, "breaks")
    assert "broken by every configuration at a keep ratio" in shown
    assert "tome@0.25 breaks 5 examples and repairs 0" in printed(store, "changed")


def test_methods_are_numbered_by_group(store: Store) -> None:
    lines = [line.split() for line in printed(store, "rank").splitlines()]
    groups = {line[1]: line[0] for line in lines if len(line) > 2 and line[1] in ("tome", "random")}
    assert groups == {"tome": "1", "random": "2"}
