"""Every method and paper is listed, with what speaks for it and an example that loads."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from methods import registry
from methods.catalogue import catalogue
from methods.evidence import evidence
from orchestrator import method_listings
from orchestrator.method_table import with_table
from sweeps.load import parse_sweep
from sweeps.tasks import registry as tasks_registry

README = Path(__file__).parents[2] / "README.md"
every_method = pytest.mark.parametrize("method_id", registry.entries())


def test_every_paper_of_the_catalogue_and_every_method_is_listed_once() -> None:
    listed = Counter(row["id"] for row in method_listings.methods())
    assert set(listed.values()) == {1}
    assert set(listed) == {*catalogue(), *registry.entries()}


def test_a_row_has_status_tier_training_tasks_and_evidence() -> None:
    rows = {row["id"]: row for row in method_listings.methods()}
    assert len({tuple(row) for row in rows.values()}) == 1
    pitome, planned = rows["pitome"], rows["mrt5"]
    assert (pitome["status"], pitome["tier"], pitome["family"]) == ("implemented", 1, "vision")
    assert pitome["survey_family"] == "vision-merge"
    assert {"digits", "dense"} <= set(pitome["workloads"])
    assert pitome["fidelity"] == evidence()["pitome"].model_dump(exclude={"id"})
    assert (planned["status"], planned["training"]) == ("planned", "full-training")
    assert "recall" in rows["snapkv"]["workloads"]
    assert rows["random"]["paper"] is rows["random"]["tier"] is None


def test_tasks_are_those_whose_models_have_the_place() -> None:
    kinds = {entry.task.place for entry in tasks_registry.entries().values()}
    for kind in kinds:
        own = {e.id for e in tasks_registry.entries().values() if e.task.place == kind}
        assert own <= set(method_listings.workloads((kind,)))
    assert set(method_listings.workloads(("weights",))) == set(tasks_registry.entries())


def test_rows_are_filtered_by_family_status_and_place() -> None:
    both = method_listings.methods(family="vision-merge")
    assert {row["status"] for row in both} == {"implemented", "planned"}
    assert {row["survey_family"] for row in both} == {"vision-merge"}
    kv = method_listings.methods(place="kv", status="implemented")
    assert {"snapkv", "random"} <= {row["id"] for row in kv}
    assert all("kv" in row["places"] for row in kv)
    assert method_listings.methods(family="kv", place="vision") == []


@pytest.mark.parametrize(
    ("filters", "nearest"),
    [({"family": "visoin"}, "vision"), ({"status": "plan"}, "planned"), ({"place": "vml"}, "vlm")],
)
def test_a_wrong_filter_names_the_nearest(filters: dict[str, str], nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        method_listings.methods(**filters)


@every_method
def test_the_page_is_json_with_an_example_that_loads(method_id: str) -> None:
    page = json.loads(json.dumps(method_listings.method(method_id)))
    sweep = parse_sweep(
        "name: example\n"
        "keep: [0.5]\n"
        "workloads:\n"
        "  w:\n"
        "    task: digits\n"
        "    backbone: vit-digits\n"
        f"    {page['yaml']}\n"
    )
    ((choice,),) = [sweep.workloads["w"].methods or ()]
    ((entry, method),) = choice.expand()
    assert entry.id == method_id
    stated = page["hyperparameters"]
    assert set(stated) == set(type(method).model_fields)
    if entry.stands_alone:
        assert method == entry.method()
    else:
        assert any(text.startswith("required: ") for text in stated.values())


def test_a_page_has_needs_schedule_and_readings() -> None:
    page = method_listings.method("tca")
    assert page["needs"] == ["the class token's attention"]
    assert page["schedule"] == "progressive"
    assert page["fidelity"]["reading"]
    assert "reservoir" in page["about"]
    assert method_listings.method("pyramiddrop")["schedule"] == "stages"


def test_a_planned_method_has_a_page() -> None:
    assert method_listings.method("mrt5")["paper"].startswith("MrT5")


def test_the_readmes_table_is_up_to_date() -> None:
    page = README.read_text(encoding="utf-8")
    assert with_table(page) == page, "run make docs"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="methods: written by make docs"):
        with_table("# Something else\n")
