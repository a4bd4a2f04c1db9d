"""Presses can be planned where kvpress is not installed, and run nowhere else than where it is."""

import pytest
from pydantic import ValidationError

from methods import registry
from methods.base import InfeasibleError
from methods.composition.stack import Stack
from methods.controls.identity import Identity
from methods.kvpress import _environment, _press
from methods.schedule import Pyramid, Uniform
from sweeps.load import load_sweep
from sweeps.mistakes import SweepFileError
from sweeps.patterns import matching

SWEEP = """
name: presses
workloads: {{recall: {{task: recall, backbone: llama-recall}}}}
keep: [0.5]
methods: [{method}]
"""


@pytest.fixture
def mistake(tmp_path, monkeypatch):
    """What is wrong with a method of a sweep file, on a machine whose kvpress is ``python``."""

    def found(method, python="/anywhere/python"):
        monkeypatch.setattr(_environment, "BUILT", tmp_path / "not-built")
        monkeypatch.setenv(_environment.VARIABLE, python)
        file = tmp_path / "sweep.yaml"
        file.write_text(SWEEP.format(method=method))
        with pytest.raises(SweepFileError) as caught:
            load_sweep(file)
        (only,) = caught.value.errors
        assert only.line == 5
        return only

    return found


def test_a_press_is_a_method_with_its_own_parameters():
    press = registry.build("kvpress/SnapKVPress", {"window_size": 16})
    assert press.model_dump() == {"window_size": 16, "kernel_size": 5}
    with pytest.raises(ValidationError, match="window"):
        registry.build("kvpress/SnapKVPress", {"window": 16})


def test_no_pattern_but_its_own_means_a_press():
    assert not any(entry.id.startswith("kvpress/") for entry in matching("*"))
    assert not any(entry.id.startswith("kvpress/") for entry in matching("kv/*"))
    assert "kvpress/KnormPress" in {entry.id for entry in matching("kvpress/*")}


@pytest.mark.parametrize(
    ("press", "params", "simulates"),
    [
        ("AdaKVPress", {"press": "SnapKVPress"}, True),
        ("KVzipPress", {}, True),
        ("SnapKVPress", {}, False),
        ("ChunkKVPress", {"press": "SnapKVPress"}, False),
    ],
)
def test_savings_of_presses_that_only_mask_are_simulated(press, params, simulates):
    method = registry.build(f"kvpress/{press}", params)
    assert method.simulated == (frozenset({"tokens", "kv", "kv_bytes"}) if simulates else set())


def test_an_unknown_press_is_told_the_nearest(mistake):
    found = mistake("kvpress/SnapPress")
    assert found.nearest == "kvpress/SnapKVPress"
    assert "'kvpress/SnapPress'" in found.message


def test_a_press_that_cannot_be_swept_is_told_why(mistake):
    assert _press.table()["others"]["ThinKPress"] in mistake("kvpress/ThinKPress").message


def test_without_an_environment_the_file_says_how_to_get_one(mistake):
    found = mistake("kvpress/StreamingLLMPress", python="")
    assert "'make kvpress' builds one" in found.message
    assert found.nearest == "streaming-llm"


def test_a_press_follows_no_schedule_but_uniform():
    press = registry.build("kvpress/KnormPress", {})
    assert [part.keep_ratio for part in press.parts(Uniform(), 0.25)] == [0.25]
    with pytest.raises(InfeasibleError, match="uniform"):
        press.parts(Pyramid(), 0.25)


def test_a_press_stands_in_no_stack():
    with pytest.raises(ValidationError, match="environment of its own"):
        Stack(stages=[{"method": "kvpress/KnormPress"}, {"method": Identity.id()}])
