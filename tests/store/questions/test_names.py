"""A point is named alike wherever it is asked for."""

from __future__ import annotations

import pytest

from store.questions.names import is_named

TRIALS = ("0fcc6b31fee0fd09", "1b2c000000000000")


@pytest.mark.parametrize("name", ["tome@0.25", "tome@4x", "tome@4X", "0fcc", "1b2c0", TRIALS[0]])
def test_a_trial_or_a_method_at_a_ratio(name: str) -> None:
    assert is_named(name, "tome", 0.25, TRIALS)


@pytest.mark.parametrize(
    "name",
    ["tome", "tome@", "tome@0.5", "tome@2x", "evit@4x", "tome@often", "tome@64 tokens", "0fc", ""],
)
def test_anything_else_is_another_point(name: str) -> None:
    assert not is_named(name, "tome", 0.25, TRIALS)


def test_tokens_and_bytes_are_known_by_their_label() -> None:
    assert is_named("snapkv@64 tokens", "snapkv", 0.25, TRIALS, "64 tokens")
    assert not is_named("snapkv@64 tokens", "snapkv", 0.25, TRIALS, "32 tokens")
