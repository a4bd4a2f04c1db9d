"""Methods on terminals of two widths: nothing is cut, evidence is one readable line."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dashboards import method_tables
from tests.dashboards.helpers import imported_with, text

FIDELITY = {
    "equation": "alg. 1",
    "code": "read",
    "reading": None,
    "test": "tests/methods/kv/test_snapkv.py::test_pooled",
    "property": None,
    "kvpress": "same indices",
}
COMPARISON = {
    "params": None,
    "sweep": "all-kv",
    "workload": "known",
    "schedule": "uniform",
    "keep": "0.25",
    "seeds": 3,
    "examples": 64,
    "quality": 0.9123,
    "random": 0.7,
    "difference": 0.2123,
    "p": 3.2e-10,
    "wins": 3,
}


def row(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": "snapkv",
        "family": "kv",
        "summary": "Keeps what the prompt's last queries look at.",
        "simulated": [],
        "survey_family": "kv-cache",
        "tier": 1,
        "training": "training-free",
        "status": "implemented",
        "places": ["kv"],
        "workloads": ["recall", "threads"],
        "paper": "SnapKV: LLM Knows What You are Looking for Before Generation",
        "arxiv": "2404.14469",
        "code": "https://github.com/FasterDecoding/SnapKV",
        "fidelity": FIDELITY,
        "measured": [COMPARISON],
    }
    return facts | changes


def planned(number: int) -> dict[str, Any]:
    return row(
        id=f"a-method-of-the-future-{number}",
        family="byte-level",
        status="planned",
        training="full-training",
        tier=3,
        places=[],
        paper="Learning to Tokenize Without a Tokenizer " * 3,
        summary=None,
        fidelity=None,
        measured=[],
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_listing_fits_and_cuts_nothing(width: int) -> None:
    many = [row(id="g-search-p-sigmoid-and-more"), row(), *map(planned, range(3))]
    shown = text(method_tables.methods_table(many), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert "Methods: 2 implemented, 3 planned" in shown
    assert "kv: 2 implemented" in shown
    assert "byte-level: 3 planned" in shown
    words = " ".join(shown.split())
    assert words.count("Tokenizer") == 9
    assert "tasks for kv: recall, threads" in words


def test_evidence_is_one_line() -> None:
    line = method_tables.evidence_text(row())
    assert line == "alg. 1 ✓, code read, kvpress same indices, +.21 p<1e-9 known"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("none public", "no code public"),
        ("not found", "code not found"),
        ("not read", "code not read"),
        ("read elsewhere", "reimplementation read"),
        ("used", "authors' code at work"),
    ],
)
def test_what_is_known_of_the_code_is_in_words(code: str, words: str) -> None:
    fidelity = {**FIDELITY, "code": code, "test": None, "kvpress": None}
    line = method_tables.evidence_text(row(fidelity=fidelity, measured=[]))
    assert line == f"alg. 1, {words}"


def test_several_workloads_are_counted_and_other_budgets_left_out() -> None:
    worse = {**COMPARISON, "workload": "unknown", "difference": -0.05, "p": 0.031}
    deeper = {**COMPARISON, "keep": "0.0625"}
    line = method_tables.evidence_text(row(measured=[worse, COMPARISON, deeper]))
    assert line.endswith("-.05 p=0.031 unknown (better in 1 of 2)")


@pytest.mark.parametrize("p", [9.9e-4, 1e-5, 3.2e-10, 1e-30])
def test_a_small_p_is_below_the_power_of_ten_that_is_named(p: float) -> None:
    line = method_tables.evidence_text(row(measured=[{**COMPARISON, "p": p}]))
    bound = float(line.partition("p<")[2].split()[0])
    assert p <= bound
    assert math.log10(bound) - math.log10(p) < 1


def test_without_a_paper_there_is_no_evidence() -> None:
    control = row(paper=None, fidelity=None)
    assert method_tables.evidence_text(control) == f"no paper: {control['summary']}"
    assert method_tables.evidence_text(row(fidelity=None)) == "nothing written down yet"


@pytest.mark.parametrize("width", [80, 120])
def test_a_page_says_everything_that_is_known(width: int) -> None:
    more = {
        "schedule": "uniform",
        "needs": ["the class token's attention"],
        "hyperparameters": {"window_size": "32: Latest queries that observe."},
        "yaml": "methods: [{snapkv: {window_size: 32}}]",
        "about": "SnapKV: keep what the prompt's last queries look at.",
    }
    shown = " ".join(text(method_tables.method_page(row() | more), width).split())
    for words in (
        "snapkv (kv, implemented)",
        "https://arxiv.org/abs/2404.14469",
        "equation alg. 1",
        "SnapKV, read",
        "known (all-kv), keep 0.25, uniform: +.21 (0.912, random 0.700), p<1e-9 over 64 examples",
        "better in 3 of 3 seeds",
        "paper's schedule uniform",
        "window_size = 32: Latest queries that observe.",
        "methods: [{snapkv: {window_size: 32}}]",
    ):
        assert words in shown
    assert "our reading" not in shown, "what is empty is left out"


def test_a_planned_method_and_no_method_at_all() -> None:
    assert "full-training" in text(method_tables.method_page(planned(0)), 80)
    assert "Methods: none" in text(method_tables.methods_table([]), 80)


def test_a_press_says_what_it_does_and_that_it_only_masks() -> None:
    facts = {"status": "external", "fidelity": None, "measured": []}
    masks = row(id="kvpress/AdaKVPress", family="kvpress", simulated=["kv", "tokens"], **facts)
    plain = row(id="kvpress/SnapKVPress", family="kvpress", **facts)
    shown = " ".join(text(method_tables.methods_table([masks, plain]), 120).split())
    assert "Methods: 2 external" in shown
    assert shown.count("look at.") == 2
    assert shown.count("its savings are simulated") == 1
    assert "evidence:" not in shown, "no column has it"
    page = " ".join(text(method_tables.method_page(masks | {"environment": "one"}), 120).split())
    assert "simulated kv, tokens: on no frontier over them" in page
    assert "environment one" in page


def test_the_tables_import_nothing_heavy() -> None:
    assert imported_with("dashboards.method_tables", ("torch", "pydantic", "yaml")) == "[]"
