from __future__ import annotations

import pytest

from sweeps.tasks import registry


def test_every_file_of_the_folder_is_a_task_with_a_card() -> None:
    assert list(registry.entries()) == ["digits", "recall"]
    for entry in registry.entries().values():
        assert entry.card.startswith(f"{entry.id}: ")
        assert registry.build(entry.id, {"num_examples": 8}).num_examples == 8


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'digit'; did you mean 'digits'\?"):
        registry.entry("digit")
