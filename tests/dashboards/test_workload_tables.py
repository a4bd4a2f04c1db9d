"""Tasks and backbones on terminals of two widths: every name is whole."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards import workload_tables
from tests.dashboards.helpers import text

COMMON = ["num_examples", "batch_size"]


def task(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": "edited-recall",
        "place": "kv",
        "metric": "exact match",
        "direction": "maximize",
        "summary": "The recall task in a context that was edited after the model had read it",
        "parameters": [*COMMON, "continuation_length"],
    }
    return facts | changes


@pytest.mark.parametrize("width", [80, 160])
def test_ids_and_parameters_are_never_cut(width: int) -> None:
    rows = [task(), task(id="text", direction="minimize", parameters=[*COMMON, "asked"])]
    shown = text(workload_tables.tasks_table(rows), width)
    assert max(map(len, shown.splitlines())) <= width
    assert all(name in shown for name in ("edited-recall", "continuation_length", "asked"))
    assert "every task has num_examples and batch_size" in shown
    assert shown.count("num_examples") == 1, "said once for all"
    assert "lower" in shown, "and which metric is minimised"


def test_a_page_has_parameters_as_a_table_and_the_card() -> None:
    parameter = {
        "name": "needles",
        "required": False,
        "default": 1,
        "allowed": "at least 1, at most 4",
        "description": "Threads that a question asks for.",
    }
    page = task(
        version=2,
        parameters=[parameter, parameter | {"name": "asked", "required": True}],
        data="procedural",
        backbones=[],
        yaml="task: {id: edited-recall}",
        about="edited-recall: the card.\n\nA second paragraph.",
    )
    shown = text(workload_tables.task_page(page), 100)
    lines = [line.split() for line in shown.splitlines()]
    assert ["needles", "1", "at", "least", "1,", "at", "most", "4"] in [line[:8] for line in lines]
    assert ["asked", "required"] in [line[:2] for line in lines]
    assert "exact match, higher is better" in shown
    assert "none of the reference backbones" in shown
    assert "A second paragraph." in shown


def test_a_backbone_without_weights_says_how_to_make_them() -> None:
    row: dict[str, Any] = {
        "id": "vit-new",
        "kind": "reference",
        "seeds": [],
        "places": [],
        "tasks": [],
        "class": None,
    }
    row |= {"about": "A tower.", "architecture": "", "card": "README.md", "yaml": "backbone: x"}
    shown = text(workload_tables.backbone_page(row), 100)
    assert "none yet: paretoken backbones train" in shown
    assert "class" not in shown


def test_no_rows_are_a_table_without_lines() -> None:
    assert "Tasks: 0" in text(workload_tables.tasks_table([]), 80)
