from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sweeps.keep import Keep, KeepRange, parse


@pytest.mark.parametrize(
    ("written", "amount", "unit"),
    [
        (1, 1.0, "ratio"),
        (0.05, 0.05, "ratio"),
        ("1e-3", 0.001, "ratio"),
        ("4x", 0.25, "ratio"),
        ("2.5X", 0.4, "ratio"),
        ("64 tokens", 64, "tokens"),
        ("1 token", 1, "tokens"),
        ("2 MiB", 2**21, "bytes"),
        ("1.5KiB", 1536, "bytes"),
        ("2 MB", 2_000_000, "bytes"),
        ("1 GiB", 2**30, "bytes"),
        ("768 B", 768, "bytes"),
    ],
)
def test_every_form_means_what_it_says(written: object, amount: float, unit: str) -> None:
    keep = parse(written)
    assert isinstance(keep, Keep)
    assert (keep.amount, keep.unit) == (amount, unit)
    assert parse(keep.written) == keep


@pytest.mark.parametrize(
    "written",
    [
        *(0, -0.5, 1.0001, True, None, [], {}, {"from": 1}, "", "x", "0x", "0.9x", "4 x 4", "-4x"),
        *("0 tokens", "1.5 tokens", "64 Tokens", "٣ tokens", "0 B", "0.5 B", "nan", "inf"),
    ],
)
def test_anything_else_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        parse(written)


@given(
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(2, 50),
    st.sampled_from(["linear", "geometric"]),
)
def test_a_range_runs_from_end_to_end(start: float, to: float, steps: int, spacing: str) -> None:
    written = {"from": start, "to": to, "steps": steps, "spacing": spacing}
    span = parse(written)
    assert isinstance(span, KeepRange)
    ratios = [keep.amount for keep in span.expand()]
    assert len(ratios) == steps
    assert (ratios[0], ratios[-1]) == (start, to)
    slack = 1e-3 * max(start, to)
    assert all(min(start, to) - slack <= ratio <= max(start, to) + slack for ratio in ratios)
    assert all(keep.label == repr(keep.amount) for keep in span.expand())


def test_spacing_is_equal_steps_or_equal_factors() -> None:
    linear = parse({"from": 1.0, "to": 0.2, "steps": 5, "spacing": "linear"})
    geometric = parse({"from": 1.0, "to": 0.0625, "steps": 5})
    assert isinstance(linear, KeepRange)
    assert isinstance(geometric, KeepRange)
    assert [keep.amount for keep in linear.expand()] == [1.0, 0.8, 0.6, 0.4, 0.2]
    assert [keep.amount for keep in geometric.expand()] == [1.0, 0.5, 0.25, 0.125, 0.0625]
