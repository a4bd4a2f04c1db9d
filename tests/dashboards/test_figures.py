from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboards.cost_picture import cost_panels
from dashboards.figures import write_figures
from dashboards.rows import rows_of
from store.frontiers.frontier import Objectives
from store.records import Point
from tests.dashboards.examples import KEEPS, OBJECTIVES, point, sweep
from tests.dashboards.helpers import imported_with

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("figures") / "made" / "on demand"
    written = write_figures("quickstart", sweep(), OBJECTIVES, folder)
    assert sorted(folder.iterdir()) == sorted(written)
    return {path.name: path for path in written}


def dom(page: Path, profile: Path) -> str:
    """The page after its scripts have run, in a real browser."""
    assert CHROMIUM is not None
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000")
    command = [CHROMIUM, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return done.stdout


def test_the_picture_is_sharp_at_800_pixels_and_not_empty(figures: dict[str, Path]) -> None:
    with Image.open(figures["frontier.png"]) as image:
        assert image.size[0] == 1600
        colours = image.convert("RGB").getcolors(maxcolors=2**20)
    assert colours is not None
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= {colour for _, colour in colours}


def test_the_page_loads_nothing(figures: dict[str, Path]) -> None:
    class Loads(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [f"{tag} {value}" for name, value in attrs if name in ("src", "href")]

    parser = Loads()
    parser.feed(figures["frontier.html"].read_text())
    assert parser.found == []


@needs_chromium
def test_a_browser_draws_every_trial_of_the_page(figures: dict[str, Path], tmp_path: Path) -> None:
    shown = dom(figures["frontier.html"], tmp_path)
    baselines = 2
    assert len(re.findall(r'<path class="point"', shown)) == len(sweep()) + baselines
    assert "digits: quality against FLOPs" in shown
    assert "recall: quality against KV-cache bytes" in shown


@needs_chromium
def test_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    name = "<img src=x onerror=\"document.title='run'\">$_{x}^$"
    objectives: dict[str, Objectives] = {name: OBJECTIVES["digits"]}
    points = [point(name, "</script><b>", schedule="$\\bad{$", keep=keep) for keep in (0.5, 1.0)]
    _, page = write_figures(name, points, objectives, tmp_path)
    shown = dom(page, tmp_path / "profile")
    assert "<img" not in shown
    assert "&lt;img src=x" in shown


def test_hovering_tells_the_whole_configuration(figures: dict[str, Path]) -> None:
    page = figures["frontier.html"].read_text()
    for words in (
        "keep 0.1 (nominal 0.1)",
        "schedule uniform, seed 2",
        "latency: 38% (33% to 48%)",
        "KV-cache bytes: not measured",
        "tokens per layer: [64, 6]",
        f"trial {sweep()[1].trial}",
    ):
        assert words in page, words


def test_a_figure_is_replaced_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "frontier.png").write_bytes(b"old")
    written = write_figures("again", [point(), point(keep=1.0)], OBJECTIVES, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert (tmp_path / "frontier.png").read_bytes() != b"old"


def test_costs_alone_are_drawn_against_what_was_kept(tmp_path: Path) -> None:
    def unjudged(points: list[Point]) -> list[Point]:
        return [replace(p, metrics={**p.metrics, "quality": None}) for p in points]

    (picture,) = write_figures("costs", unjudged(sweep()), OBJECTIVES, tmp_path)
    assert picture.name == "costs.png"
    panels = cost_panels(rows_of(unjudged(sweep()), OBJECTIVES))
    assert (panels[0].workload, panels[0].cost) == ("digits", "flops")
    expected = sorted((keep, 0.2 + 0.8 * keep) for keep in (*KEEPS, 1.0))
    assert np.allclose(panels[0].curves["tome"], expected)
    baselines = [point(method="identity", keep=1.0)]
    assert write_figures("costs", unjudged(baselines), OBJECTIVES, tmp_path) == []


def test_a_sweep_without_finished_trials_has_no_figure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'empty' has no finished trial"):
        write_figures("empty", [], OBJECTIVES, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported_before_a_figure_is_written() -> None:
    heavy = ("matplotlib", "plotly", "mlflow", "torch", "ray")
    assert imported_with("dashboards.figures", heavy) == "[]"
