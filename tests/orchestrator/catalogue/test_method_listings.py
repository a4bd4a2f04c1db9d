"""Every method and paper is listed, with what speaks for it and an example that loads."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from methods import registry
from methods.catalogue import catalogue
from methods.evidence import evidence
from methods.kvpress import _environment
from orchestrator.catalogue import method_listings, method_pages
from orchestrator.catalogue.method_table import with_table
from sweeps.load import parse_sweep
from sweeps.tasks import registry as tasks_registry

README = Path(__file__).parents[3] / "README.md"
every_method = pytest.mark.parametrize("method_id", [*registry.entries(), *registry.presses()])


def test_every_paper_of_the_catalogue_and_every_method_is_listed_once() -> None:
    listed = Counter(row["id"] for row in method_listings.methods())
    assert set(listed.values()) == {1}
    assert set(listed) == {*catalogue(), *registry.entries(), *registry.presses()}


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
def test_the_page_is_json_with_an_example_that_loads(
    method_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_environment.VARIABLE, "/there/python")
    page = json.loads(json.dumps(method_pages.page(method_id)))
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
    page = method_pages.page("tca")
    assert page["needs"] == ["the class token's attention"]
    assert page["schedule"] == "progressive"
    assert page["fidelity"]["reading"]
    assert "reservoir" in page["about"]
    assert method_pages.page("pyramiddrop")["schedule"] == "stages"


def test_a_planned_method_has_a_page() -> None:
    assert method_pages.page("mrt5")["paper"].startswith("MrT5")


def test_a_press_has_a_page_with_its_paper_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_environment, "BUILT", tmp_path / "not-built")
    monkeypatch.delenv(_environment.VARIABLE, raising=False)
    page = method_pages.page("kvpress/ExpectedAttentionPress")
    assert page["status"] == "external"
    assert page["arxiv"] == "2510.00636"
    assert page["paper"].startswith("Expected Attention")
    assert page["hyperparameters"]["n_sink"].startswith("4: ")
    assert page["simulated"] == []
    assert "'make kvpress'" in page["environment"]
    assert page["environment"].endswith("none yet")
    masks = method_pages.page("kvpress/AdaKVPress")
    assert masks["simulated"] == ["kv", "kv_bytes", "tokens"]
    assert "SnapKVPress" in masks["hyperparameters"]["press"]


def test_a_press_has_the_title_of_a_paper_that_is_implemented_here_too() -> None:
    rows = {row["id"]: row for row in method_listings.methods(status="external")}
    assert set(rows) == set(registry.presses())
    assert rows["kvpress/SnapKVPress"]["paper"] == registry.entry("snapkv").method.paper.title
    assert rows["kvpress/KVzipPress"]["arxiv"] == "2505.23416"
    assert rows["kvpress/RandomPress"]["paper"] is None


def test_limits_and_choices_of_hyperparameters_are_said() -> None:
    stated = method_pages.page("tome")["hyperparameters"]["round_share"]
    assert stated.startswith("0.5: ")
    assert stated.endswith("(above 0, at most 0.5)")


@pytest.mark.parametrize("name", ["vision/tome", "tome"])
def test_a_page_is_found_by_every_name_of_a_sweep_file(name: str) -> None:
    assert method_pages.page(name)["id"] == "tome"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tomee", "did you mean 'tome'?"),
        ("TOME", "did you mean 'tome'?"),
        ("SnapKVPress", "did you mean 'kvpress/SnapKVPress'?"),
        ("kvpress/SnapKVPres", "did you mean 'kvpress/SnapKVPress'?"),
        ("kvpress/snapkv", "did you mean 'kvpress/SnapKVPress'?"),
        ("kvpress/ThinKPress", "cannot be swept: "),
        ("vision/*", "is a pattern"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        method_pages.page(name)
    assert repr(name) in str(caught.value)
    assert len(str(caught.value)) < 200, "no list of two hundred names"


def test_the_readmes_table_is_up_to_date() -> None:
    page = README.read_text(encoding="utf-8")
    assert with_table(page) == page, "run make docs"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="methods: written by make docs"):
        with_table("# Something else\n")
