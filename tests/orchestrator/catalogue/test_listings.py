"""Every task and every reference backbone has a page, with an example that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.catalogue import listings
from sweeps.load import parse_sweep
from sweeps.models import references
from sweeps.plan import plan
from sweeps.tasks import registry as tasks_registry


@pytest.mark.parametrize("task_id", list(tasks_registry.entries()))
def test_a_tasks_example_loads_and_runs_on_the_backbones_it_names(task_id: str) -> None:
    page = json.loads(json.dumps(listings.task(task_id)))
    assert page["data"], "the card says where the data are from"
    assert page["about"].startswith(f"{task_id}: ")
    measure = "[quality, cost]" if tasks_registry.entry(task_id).task.has_answers else "[cost]"
    for backbone in page["backbones"]:
        sweep = parse_sweep(
            "name: example\n"
            "keep: [1.0]\n"
            f"measure: {measure}\n"
            f"seeds: [{references()[backbone].seeds[0]}]\n"
            "workloads:\n"
            f"  w: {{{page['yaml']}, backbone: {backbone}, methods: [identity]}}\n"
        )
        assert sweep.workloads["w"].task.build() == tasks_registry.entry(task_id).task()
        assert len(plan(sweep).trials) == 1


def test_a_page_names_parameters_with_defaults_and_limits() -> None:
    stated = {each["name"]: each for each in listings.task("threads")["parameters"]}
    needles, question = stated["needles"], stated["question"]
    assert (needles["default"], needles["allowed"]) == (1, "at least 1, at most 4")
    assert (question["default"], question["allowed"]) == ("known", "known, unknown")
    assert all(each["description"] for each in stated.values())


def test_backbones_run_tasks_of_their_place_only() -> None:
    rows = {row["id"]: row for row in listings.backbones()}
    assert rows["vit-digits"]["tasks"] == ["digits", "shape-vision"]
    assert "threads" in rows["llama-threads"]["tasks"]
    places = {row["id"]: row["place"] for row in listings.tasks()}
    for row in rows.values():
        assert {places[task] for task in row["tasks"]} <= {row["place"]}


def test_shapes_run_costs_alone_and_their_pages_load() -> None:
    rows = {row["id"]: row for row in listings.backbones() if row["kind"] == "shape"}
    assert rows["qwen2.5-vl-7b"]["tasks"] == rows["llava-1.5-7b"]["tasks"] == ["shape-vlm"]
    assert rows["deit-b"]["tasks"] == ["shape-vision"]
    for shape_id, row in rows.items():
        page = listings.backbone(shape_id)
        sweep = parse_sweep(
            "{name: shape, keep: [1.0], measure: [cost], workloads: {w: {methods: [identity], "
            f"task: {row['tasks'][0]}, {page['yaml']}}}}}}}"
        )
        assert len(plan(sweep).trials) == 1
        assert (
            page["class"] in listings.adapter_for({"architectures": [page["class"]]}).architectures
        )
    with pytest.raises(ValueError, match="deit-b is a shape"):
        listings.train("deit-b", 0, Path("nowhere"), print)


@pytest.mark.parametrize("backbone_id", list(references()))
def test_a_backbones_page_has_its_architecture_and_its_card(backbone_id: str) -> None:
    page = listings.backbone(backbone_id)
    assert Path(page["card"]).is_file()
    assert page["class"] in page["architecture"]
    assert page["about"].startswith(page["summary"])
