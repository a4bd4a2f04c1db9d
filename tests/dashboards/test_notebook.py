"""The notebook of the documentation runs, and what it shows is what the store holds."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from dashboards.notebook import open_store
from store.repository import Store
from tests.dashboards.small import measured

NOTEBOOK = Path(__file__).parents[2] / "docs" / "explore.ipynb"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return measured(tmp_path_factory.mktemp("measured"))


def test_the_notebook_runs_from_top_to_bottom(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETOKEN_STORE", store.url)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    before = [bool(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert all(before), "it is checked in with its outputs"
    assert NOTEBOOK.stat().st_size < 200_000
    NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    frames = [cell.outputs[-1].data for cell in notebook.cells if cell.get("outputs")]
    assert sum("text/html" in data for data in frames) >= 4
    assert sum("image/svg+xml" in data for data in frames) == 1


def test_frames_hold_every_trial_and_figures_every_point(store: Store) -> None:
    sweep = open_store(store.url).sweep("quickstart")
    points = store.points("quickstart")
    trials = sweep.trials()
    assert list(trials.trial) == [point.trial for point in points]
    assert list(trials.quality) == [point.metrics["quality"] for point in points]
    assert set(trials[trials.on_frontier].pareto_rank) == {1}
    assert not trials[~trials.on_frontier].pareto_rank.eq(1).any()
    assert sweep.outcomes(points[0].trial).shape == (8, 1)
    drawn = sum(len(trace.text) for trace in sweep.figure().data if trace.text is not None)
    assert drawn == len(points)
    assert sweep.frontier(maximum={"flops": 0.9}).flops.max() <= 0.9
    assert list(open_store(store.url).sweeps().name) == ["quickstart"]
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        open_store(store.url).sweep("quickstat")
