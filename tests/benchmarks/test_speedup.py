"""``make bench``'s table of real speed-ups: what it divides by what."""

from __future__ import annotations

import pytest

from tests.benchmarks import speedup_shapes
from tests.benchmarks.speedup import Measuring, Row, markdown, measurable
from tests.shapes import NARROW


def test_a_row_tells_operations_from_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow model on a clock that ticks once whenever it is read."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(speedup_shapes, "CPU_CLOCK", lambda: float(next(ticks)))
    plain = speedup_shapes._config

    def narrow(name: str) -> dict[str, object]:
        return plain(name) | NARROW["deit-b"] | {"image_size": 64, "num_hidden_layers": 4}

    monkeypatch.setattr(speedup_shapes, "_config", narrow)
    row = Measuring(speedup_shapes.Tower()).row("tome", pairs=2)
    assert row.schedule == "progressive"
    assert 1 < row.predicted < 4
    # One reading before and one after, so a run takes one tick, whatever was compressed.
    assert row.realised == 1
    assert row.ratio == pytest.approx(1 / row.predicted)
    assert row.on_aim == (row.ratio >= 0.8 and row.share <= 0.05)


def test_every_place_has_methods_and_none_that_saves_nothing() -> None:
    by_place = {place: measurable(place) for place in speedup_shapes.SUBJECTS}
    assert {"tome", "divprune"} <= set(by_place["vision"])
    assert {"fastv", "divprune"} <= set(by_place["vlm"])
    assert {"snapkv", "adakv"} <= set(by_place["kv"])
    assert not {"identity", "oracle", "relevance-oracle"} & set().union(*by_place.values())


def test_tables_are_written_by_place() -> None:
    rows = [Row("kv", "snapkv", "uniform", 1.2, 1.1, 1.0, 1.3, 0.01)]
    text = markdown(rows)
    assert "| snapkv | uniform | 1.20 | 1.10 [1.00, 1.30] | 0.92 | 1.0% |" in text
    assert "vision" not in text
