from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import tasks
from sweeps.tasks import registry


def test_every_file_of_the_folder_is_a_task_with_a_card() -> None:
    files = {path.stem for path in Path(tasks.__file__).parent.glob("[a-z]*.py")}
    ids = sorted(name.replace("_", "-") for name in files - registry.NOT_TASKS)
    assert list(registry.entries()) == ids
    assert {"digits", "recall", "retrieval", "zero-shot", "dense"} <= set(ids)
    for entry in registry.entries().values():
        assert entry.card.startswith(f"{entry.id}: ")
        if entry.task.has_answers:
            assert registry.build(entry.id, {"num_examples": 8}).num_examples == 8


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'digit'; did you mean 'digits'\?"):
        registry.entry("digit")
