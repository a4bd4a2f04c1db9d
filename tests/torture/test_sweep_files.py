"""A short share of ``make torture``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import sweep_files
from tests.torture.mutations import ATTACKS, SHIPPED


def test_broken_sweep_files_plan_or_are_refused_with_their_place() -> None:
    outcomes, broken = sweep_files.torture(first=0, count=100)
    assert not broken
    assert outcomes["planned"] > 0
    assert outcomes["refused"] > 0


def test_known_attacks_are_refused(tmp_path: Path) -> None:
    """Alone, none of them is a sweep."""
    for attack in ATTACKS:
        assert sweep_files.outcome(attack, tmp_path / "sweep.yaml") == "refused", attack[:60]


@pytest.mark.parametrize("newline", ["\r\n", "\r"], ids=["crlf", "cr"])
def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path: Path, newline: str) -> None:
    (quickstart,) = (path for path in SHIPPED if path.stem == "quickstart")
    content = "\ufeff" + newline.join(quickstart.read_text("utf-8").splitlines())
    assert sweep_files.outcome(content.encode(), tmp_path / "sweep.yaml") == "planned"
