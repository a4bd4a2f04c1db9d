"""Examples as people read them, and which of them hang together."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.data import source_text
from sweeps.examples import inputs, with_inputs
from sweeps.tasks import registry

SMALL = {"num_examples": 24}


def test_small_fields_are_numbers_and_large_ones_shapes() -> None:
    task = registry.build("digits", SMALL)
    shown = inputs(task, 23)
    assert shown["pixel_values"] == "float32 [3, 48, 48]"
    assert shown["labels"] == int(task.batches()[0].labels[23])


def test_text_can_be_read() -> None:
    task = registry.build("text", {**SMALL, "context_length": 64, "continuation_length": 8})
    shown = inputs(task, 3)
    batch = task.batches()[0]
    assert shown["continuation"].encode() == bytes(batch.continuation[3].tolist())
    assert shown["context_ends"].encode() == bytes(batch.context[3, 1:].tolist())


def test_windows_of_one_file_are_one_cluster() -> None:
    task = registry.build("text", {"num_examples": 200, "context_length": 64})
    clusters = task.clusters()
    assert len(clusters) == 200
    assert 1 < len(set(clusters)) < 200
    whole = [bytes(text.tolist()) for text in source_text.texts("test")]
    for batch, start in zip(task.batches(), range(0, 200, task.batch_size), strict=True):
        for row in range(len(batch)):
            window = bytes(batch.context[row, 1:].tolist())
            assert window in whole[clusters[start + row]]


def test_other_tasks_have_independent_examples() -> None:
    assert registry.build("digits", SMALL).clusters() == []


def answer(**changes: Any) -> dict[str, Any]:
    task = registry.build("digits", SMALL)
    row = {"task": {"id": "digits", "params": SMALL}, "data": task.data_fingerprint()}
    return row | changes


def test_every_example_of_an_answer_gets_its_inputs() -> None:
    changed = [{"example": 4}, {"example": 2}, {"example": 4}]
    assert list(with_inputs(answer(examples_changed=changed))["inputs"]) == [2, 4]
    hardest = [{"lost": (7, 1)}, {"lost": (7,)}]
    shown = with_inputs(answer(hardest=hardest))["inputs"]
    assert list(shown) == [1, 7]


def test_examples_that_changed_since_are_refused() -> None:
    with pytest.raises(ValueError, match="no longer those that were measured"):
        with_inputs(answer(data="0123", hardest=[]))
