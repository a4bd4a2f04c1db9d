"""Numbers and lists read the same in every table."""

from __future__ import annotations

import pytest

from dashboards.words import decimals, size, some


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1023, "0.999 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (40 * 2**30, "40 GiB"),
        (-3 * 2**30, "-3 GiB"),  # of a worker that has less than nothing left
    ],
)
def test_bytes_are_told_in_three_digits(num_bytes: float | None, words: str) -> None:
    assert size(num_bytes) == words


def test_three_names_say_enough() -> None:
    assert some(name for name in "abc") == "a, b, c"
    assert some("abcde") == "a, b, c and 2 more"


def test_what_was_not_measured_takes_no_room() -> None:
    assert (decimals(None), decimals(0.12345)) == ("", "0.123")
