"""What is said for a method is there: a row for every paper, and every test that it names."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from methods.evidence import Evidence, Measured, evidence, measured
from methods.registry import entries

ROOT = Path(__file__).parents[2]
FIDELITY = ROOT / "tests/fidelity/test_against_kvpress.py"
rows = pytest.mark.parametrize("row", evidence().values(), ids=lambda row: row.id)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions_of(path: Path) -> dict[str, ast.FunctionDef]:
    found = [node for node in tree_of(path).body if isinstance(node, ast.FunctionDef)]
    return {function.name: function for function in found}


def imports_of(path: Path) -> set[str]:
    nodes = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module}


def test_every_method_with_a_paper_has_one_row_and_nothing_else_has() -> None:
    with_paper = [entry.id for entry in entries().values() if entry.method.paper]
    lines = (ROOT / "methods/evidence.csv").read_text().splitlines()
    assert len(lines) - 1 == len(evidence())
    assert sorted(with_paper) == sorted(evidence())


@rows
def test_every_test_that_is_named_exists_and_is_about_the_method(row: Evidence) -> None:
    module = entries()[row.id].method.__module__
    for name in filter(None, (row.test, row.property)):
        path, _, function = name.partition("::")
        assert function in functions_of(ROOT / path), name
        # Families that share a test file take their methods from the registry or by class.
        assert module in imports_of(ROOT / path), f"{path} does not import {row.id}"


@rows
def test_an_equation_without_a_test_belongs_to_a_library_that_does_the_work(row: Evidence) -> None:
    assert row.test is not None or row.code == "used"


@rows
def test_agreement_with_kvpress_is_what_the_fidelity_test_compares(row: Evidence) -> None:
    compared = entries()[row.id].method.__module__ in imports_of(FIDELITY)
    assert (row.kvpress is not None) == compared


@rows
def test_code_that_was_read_has_an_address(row: Evidence) -> None:
    paper = entries()[row.id].method.paper
    assert paper
    if row.code == "read":
        assert paper.code, "where was it read?"
    if row.code in ("none public", "not found", "read elsewhere", "not read"):
        assert row.reading, "without the authors' code something is our own reading"


def test_what_was_measured_is_about_methods_that_exist_and_adds_up() -> None:
    for method, comparisons in measured().items():
        assert method in entries()
        for row in comparisons:
            assert row.wins <= row.seeds
            assert abs(row.difference) == pytest.approx(abs(row.quality - row.random), abs=2e-4)


def test_the_measured_table_has_the_columns_of_its_rows() -> None:
    header = (ROOT / "methods/measured.csv").read_text().splitlines()[0]
    assert header.split(",") == list(Measured.model_fields)
