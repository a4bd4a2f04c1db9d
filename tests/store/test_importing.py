from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from store.importing import kvpress, table
from store.repository import Store

HEADING = "method,keep_ratio,quality,kv"


def written(folder: Path, *lines: str, heading: str = HEADING, name: str = "paper.csv") -> Path:
    file = folder / name
    file.write_text("\n".join([heading, *lines]) + "\n")
    return file


def results(
    folder: Path,
    press: str,
    removed: float,
    scores: dict[str, Any],
    predictions: str | None = None,
    **settings: Any,
) -> Path:
    """A folder as kvpress writes it."""
    run = folder / f"ruler__4096__tiny__{press}__{removed:.2f}"
    run.mkdir(parents=True)
    config = {
        "dataset": "ruler",
        "data_dir": "4096",
        "model": "tiny",
        "press_name": press,
        "compression_ratio": removed,
        "fraction": 1.0,
        "query_aware": False,
        "seed": 42,
        **settings,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.json").write_text(json.dumps(scores))
    if predictions is not None:
        (run / "predictions.csv").write_text(predictions)
    return run


def test_a_csv_comes_back_from_the_store_with_where_it_is_from(
    store: Store, tmp_path: Path
) -> None:
    file = written(tmp_path, "snapkv,0.25,0.9,0.26", "h2o,0.25,0.7,")
    assert store.add_import("paper", str(file), "arXiv:2404.14469, table 2", table.read(file))
    imported = store.imported("paper")
    assert (imported.source, imported.format) == ("arXiv:2404.14469, table 2", "csv")
    first, second = imported.points
    assert (first.workload, first.method, first.keep_ratio) == ("paper", "snapkv", 0.25)
    assert (first.metrics["kv"], second.metrics["kv"], first.metrics["flops"]) == (0.26, None, None)
    assert second.origin == f"{file}:3"


def test_imported_numbers_are_in_no_sweep(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, "snapkv,0.25,0.9,0.26")
    store.add_import("paper", str(file), "a paper", table.read(file))
    assert store.sweeps() == []
    with pytest.raises(ValueError, match="no sweep in"):
        store.points("paper")


def test_importing_twice_is_importing_once_and_other_content_is_refused(
    store: Store, tmp_path: Path
) -> None:
    file = written(tmp_path, "snapkv,0.25,0.9,0.26")
    assert store.add_import("paper", str(file), "a paper", table.read(file))
    assert not store.add_import("paper", str(file), "a paper", table.read(file))
    changed = table.read(written(tmp_path, "snapkv,0.25,0.8,0.26"))
    with pytest.raises(ValueError, match="'paper' holds other results: choose another --name"):
        store.add_import("paper", str(file), "a paper", changed)
    assert [point.reported["quality"] for point in store.imported("paper").points] == [0.9]
    store.remove_import("paper")
    assert store.imports() == []


@pytest.mark.parametrize(
    ("heading", "line", "sentence"),
    [
        ("method,quality", "a,1", r":1: no column 'keep_ratio'; the heading has method, quality"),
        (HEADING + ",kvv", "a,1,1,1,1", r":1: unknown column 'kvv'; did you mean 'kv'\?"),
        (HEADING + ",kv", "a,1,1,1,1", ":1: column 'kv' stands there twice"),
        (HEADING, "a,1,1,1,1", ":2: more cells than the heading has columns"),
        (HEADING, "a,25%,1,1", ":2: keep_ratio '25%': Input should be a valid number"),
        (HEADING, "a,1.5,1,1", ":2: keep_ratio '1.5': Input should be less than or equal to 1"),
        (HEADING, "a,0.5,nan,1", ":2: quality 'nan': Input should be a finite number"),
        (HEADING, "a,0.5,,1", ":2: quality is missing"),
        (HEADING + ",hyperparameters", "a,1,1,1,[3]", r":2: hyperparameters '\[3\]': write a JSON"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, heading: str, line: str, sentence: str
) -> None:
    file = written(tmp_path, line, heading=heading)
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}{sentence}"):
        table.read(file)


def test_columns_may_be_left_out_by_name(tmp_path: Path) -> None:
    file = written(tmp_path, "a,0.5,1,1,fast", heading=HEADING + ",remark")
    (point,) = table.read(file, ["remark"]).points
    assert point.reported == {"quality": 1.0, "kv": 1.0}


def test_kvpress_counts_what_is_removed_and_we_what_is_kept(tmp_path: Path) -> None:
    scores = {"niah_single_1": {"string_match": 99.0}, "qa_1": {"string_match": 81.2}}
    results(tmp_path, "snapkv", 0.75, scores)
    collection = kvpress.read(tmp_path)
    found = {point.workload: point for point in collection.points}
    assert list(found) == ["ruler/4096/tiny.niah_single_1", "ruler/4096/tiny.qa_1"]
    point = found["ruler/4096/tiny.qa_1"]
    assert (point.method, point.keep_ratio, point.seed) == ("snapkv", 0.25, 42)
    assert point.reported == {"quality": 81.2, "tokens": 0.25}
    assert collection.provenance["model"] == "tiny"


def test_what_was_really_removed_counts_where_the_predictions_say_it(tmp_path: Path) -> None:
    scores = {"qa_1": {"string_match": 81.2}}
    cells = "predicted_answer,compression_ratio\nx,0.6\ny,0.8\n"
    results(tmp_path, "dms", 0.5, scores, cells, threshold=3.0)
    (point,) = kvpress.read(tmp_path).points
    assert point.keep_ratio == pytest.approx(0.3)
    assert point.hyperparameters == {"threshold": 3.0}


def test_settings_that_change_the_question_make_other_workloads(tmp_path: Path) -> None:
    scores = {"qa_1": {"string_match": 81.2}}
    results(tmp_path / "plain", "snapkv", 0.5, scores)
    results(tmp_path / "aware", "snapkv", 0.5, scores, query_aware=True)
    workloads = {point.workload for point in kvpress.read(tmp_path).points}
    assert workloads == {"ruler/4096/tiny.qa_1", "ruler/4096/tiny/query-aware.qa_1"}


def test_several_metrics_of_one_task_are_several_workloads(tmp_path: Path) -> None:
    results(tmp_path, "snapkv", 0.5, {"cloze": {"exact_match": 0.4, "partial_match": 0.6}})
    qualities = {p.workload: p.reported["quality"] for p in kvpress.read(tmp_path).points}
    assert qualities == {
        "ruler/4096/tiny.cloze.exact_match": 0.4,
        "ruler/4096/tiny.cloze.partial_match": 0.6,
    }


def test_a_folder_without_its_configuration_is_refused(tmp_path: Path) -> None:
    run = results(tmp_path, "snapkv", 0.5, {"qa_1": {"string_match": 81.2}})
    (run / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"config\.yaml is missing"):
        kvpress.read(tmp_path)
    with pytest.raises(ValueError, match=r"holds no metrics\.json"):
        kvpress.read(run.parent / "elsewhere")
