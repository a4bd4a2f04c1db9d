from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from methods.registry import entries as methods
from sweeps.json_schema import json_schema
from sweeps.models import references
from sweeps.tasks.registry import entries as tasks
from tests.sweeps.test_load import GOOD, ONE_MISTAKE

SHIPPED = sorted(Path(__file__, "../../../sweeps").resolve().glob("*.yaml"))
BEYOND_A_SCHEMA = {
    # the text, which a schema does not see
    *("key twice", "key that is a number", "infinite", "not a number", "huge number"),
    *("half a character", "control character", "deep nesting", "syntax", "tab", "two documents"),
    *("undefined alias", "python tag", "alias inside itself", "name that is a date"),
    # one part of the file against another
    *("missing keep", "missing methods", "cache of a vision model", "latency without pairs"),
    *("quality in the wrong direction", "latency of the frontier alone"),
    *("quality of random weights", "quality of a shape", "objective that is not measured"),
    # names by pattern, and amounts inside a text
    *(
        "unknown method in a stack",
        "keep of a stage",
        "pattern without methods",
        "factor below 1",
        "half a token",
        "one and a half GPUs",
        "rungs that fall",
        "rung above everything",
        "race without quality",
        "race over a time",
        "tune over a time",
        "race of so many trials",
    ),
}
SEEN = sorted(ONE_MISTAKE.keys() - BEYOND_A_SCHEMA)


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_editors_accept_shipped_sweeps(path: Path, validator: Any) -> None:
    assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []


def test_editors_accept_every_way_of_writing(validator: Any) -> None:
    text = GOOD + (
        "    exclude: [vision/random, 'dpc*']\n"
        "    schedules: [uniform, {one-layer: {layer: [1, 2]}}, {progressive: {}}]\n"
        "    seeds: [0, 1]\n"
        '    keep: [1, 0.5, "8x", "64 tokens", "2 MiB", {from: 1.0, to: 0.05, steps: 6}]\n'
        "  hub:\n    task: {id: digits, num_examples: 64}\n"
        "    backbone: {hf: org/model, revision: main, dtype: bfloat16}\n"
        '    methods: ["vision/*", kv/snapkv, {tome: {round_share: [0.25, 0.5]}}, {evit: null}]\n'
        "  shape:\n    task: {id: shape-vision, batch_size: 4}\n    methods: [tome]\n"
        "    backbone: {config: deit-b, weights: random, layers: 2, dtype: bfloat16}\n"
        "resources: {workers: 2, cpus: 0.5, gpus: 0.25}\n"
        "budget: {max_trials: null, max_hours: 1.5}\nmeasure: {latency_pairs: 0}\n"
        "search: {strategy: race, rungs: [1/8, 0.25, 1], epsilon: 0.0}\n"
        "$schema: x.json\n"
    )
    assert list(validator.iter_errors(yaml.safe_load(text))) == []
    for measure in ("[cost, latency]", "{latency_batch: 8}", "{latency_batch: [1, 8]}"):
        text = f"{GOOD}measure: {measure}\n"
        assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("case", SEEN)
def test_editors_refuse_what_the_loader_refuses(case: str, validator: Any) -> None:
    assert list(validator.iter_errors(yaml.safe_load(ONE_MISTAKE[case][0])))


def test_editors_know_every_name_with_a_description() -> None:
    described: dict[str, str] = {}

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("const"), str):
                described[part["const"]] = part.get("description", "")
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(json_schema())
    alone = [name for name, entry in methods().items() if entry.stands_alone]
    assert "stack" not in described  # by itself it says nothing
    for name in (*alone, *tasks(), *references(), "vision/*", "kv/*", "controls/*"):
        assert described[name], name
