from __future__ import annotations

from dashboards.styles import dashes, looks


def test_ninety_series_look_different_and_ten_neighbours_differ_in_colour() -> None:
    labels = [f"method-{i}" for i in range(90)]
    found = list(looks(labels).values())
    assert len({(look.colour, look.marker) for look in found}) == 90
    assert len({(look.colour, look.symbol) for look in found}) == 90
    assert all(len({look.colour for look in found[i : i + 10]}) == 10 for i in range(80))


def test_every_colour_shows_on_white() -> None:
    for look in looks([str(i) for i in range(10)]).values():
        channels = [int(look.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 2, look


def test_schedules_differ_in_their_lines() -> None:
    assert len({dash.name for dash in dashes(["a", "b", "c", "d"]).values()}) == 4
