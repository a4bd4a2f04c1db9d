from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from sweeps.load import LARGEST_FILE, load_sweep, parse_sweep
from sweeps.mistakes import SweepFileError
from sweeps.spec import SweepSpec

SHIPPED = sorted(Path(__file__, "../../../sweeps").resolve().glob("*.yaml"))
GOOD = """\
name: tiny
keep: [1.0, 0.5]
workloads:
  digits:
    task: digits
    backbone: vit-digits
    methods: [tome]
"""
CACHE = GOOD.replace("task: digits", "task: recall").replace("vit-digits", "llama-recall")


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def complaints(text: str) -> list[str]:
    with pytest.raises(SweepFileError) as caught:
        parse_sweep(text, "f.yaml")
    return str(caught.value).split("\n")


ONE_MISTAKE = {
    # names
    "unknown method": (
        changed("[tome]", "[evit, tomee]"),
        "7:21: unknown method 'tomee'; did you mean 'tome'? (choices: ",
    ),
    "method that says nothing alone": (
        changed("[tome]", "[evit, stack]"),
        "7:21: stack says nothing without stages; see: paretoken methods stack",
    ),
    "method without what it needs": (
        changed("[tome]", "[{pairing: null}]"),
        "7:25: pairing says nothing without score",
    ),
    "method of another place": (
        changed("[tome]", "[vision/snapkv]"),
        "7:15: unknown method 'vision/snapkv'; did you mean 'kv/snapkv'? (choices: ",
    ),
    "pattern without methods": (
        changed("[tome]", '["visoin/*"]'),
        "7:15: unknown method pattern 'visoin/*'; did you mean 'vision/*'? (choices: ",
    ),
    "unknown task": (
        changed("task: digits", "task: digit"),
        "5:11: unknown task 'digit'; did you mean 'digits'? (choices: ",
    ),
    "unknown backbone": (
        changed("vit-digits", "vit-digit"),
        "6:15: unknown backbone 'vit-digit'; did you mean 'vit-digits'? (choices: ",
    ),
    "quality of random weights": (
        changed("vit-digits", "{config: deit-b, weights: random}"),
        "6:41: weights are random, so that quality would mean nothing: write measure: [cost], or",
    ),
    "quality of a shape": (
        changed("task: digits", "task: shape-vision"),
        "5:11: task shape-vision has no right answers, so there is no quality: write measure:",
    ),
    "weights that are not random": (
        changed("vit-digits", "{config: deit-b, weights: pretrained}"),
        "6:41: unknown value 'pretrained'; did you mean 'random'? (choices: random)",
    ),
    "no layers": (
        changed("vit-digits", "{config: deit-b, weights: random, layers: 0}") + "measure: [cost]\n",
        "6:57: layers: must be at least 1, got 0",
    ),
    "unknown thing to measure": (
        GOOD + "measure: [cost, qualty]\n",
        "8:17: unknown value 'qualty'; did you mean 'quality'? (choices: ",
    ),
    "measure without costs": (
        GOOD + "measure: [latency]\n",
        "8:10: costs are always measured: add cost to the list",
    ),
    "objective that is not measured": (
        GOOD + "measure: [cost]\nobjectives: {quality: maximize}\n",
        "9:14: objective 'quality' is not measured: measure lists cost",
    ),
    "unknown method in a stack": (
        changed("[tome]", "[{stack: [tome, kivy]}]"),
        "7:30: unknown method 'kivy'; did you mean 'kivi'?",
    ),
    "empty stack": (
        changed("[tome]", "[{stack: []}]"),
        "7:23: must not be empty, got []",
    ),
    "keep of a stage": (
        changed("[tome]", "[{stack: [{tome: {keep: 2}}]}]"),
        "7:24: keep: must be at most 1",
    ),
    "unknown schedule": (
        GOOD + "    schedules: [uniform, progresive]\n",
        "8:26: unknown schedule 'progresive'; did you mean 'progressive'? "
        "(choices: uniform, one-layer, progressive, ",
    ),
    "unknown objective": (
        GOOD + "    objectives: {qualty: maximize}\n",
        "8:18: unknown objective 'qualty'; did you mean 'quality'? (choices: quality, tokens, ",
    ),
    "unknown direction": (
        GOOD + "    objectives: {quality: maximise}\n",
        "8:27: unknown direction 'maximise'; did you mean 'maximize'? "
        "(choices: maximize, minimize)",
    ),
    "unknown exclusion": (
        GOOD + "    exclude: [vision/randm]\n",
        "8:15: unknown method 'vision/randm'",
    ),
    "unknown dtype": (
        changed("vit-digits", "{hf: org/model, dtype: float64}"),
        "6:38: unknown value 'float64'; did you mean 'float16'? "
        "(choices: float32, float16, bfloat16)",
    ),
    # search
    "unknown strategy": (
        GOOD + "search: {strategy: rcae}\n",
        "8:20: unknown strategy 'rcae'; did you mean 'race'? (choices: grid, race, tune)",
    ),
    "strategy that is no text": (
        GOOD + "search: {strategy: [race]}\n",
        '8:20: expected text, got ["race"]',
    ),
    "search without a strategy": (
        GOOD + "search: {epsilon: 0.1}\n",
        "8:1: missing key 'strategy'",
    ),
    "unknown key of a race": (
        GOOD + "search: {strategy: race, epsilom: 0.1}\n",
        "8:26: unknown key 'epsilom'; did you mean 'epsilon'?",
    ),
    "rungs that fall": (
        GOOD + "search: {strategy: race, rungs: [1/4, 1/8]}\n",
        "8:39: rungs must rise: 1/8 follows 1/4",
    ),
    "rung above everything": (
        GOOD + "search: {strategy: race, rungs: [3/2]}\n",
        "8:34: a share is above 0 and at most 1, got '3/2'",
    ),
    "unknown algorithm": (
        GOOD + "search: {strategy: tune, algorithm: optna}\n",
        "8:37: unknown algorithm 'optna'; did you mean 'optuna'? (choices: optuna, nsga2, random)",
    ),
    "algorithm for one number": (
        GOOD + "search: {strategy: tune, algorithm: hyperopt}\n",
        "8:37: 'hyperopt' looks for the best of one number; a frontier needs optuna, nsga2, random",
    ),
    "race without quality": (
        GOOD + "measure: [cost]\nsearch: race\n",
        "9:9: a race is decided by quality, which is not measured: measure lists cost",
    ),
    "race over a time": (
        GOOD + "    objectives: {quality: maximize, latency: minimize}\nsearch: race\n",
        "8:37: a race ends before anything is timed: leave 'latency' out, or write search: grid",
    ),
    "tune over a time": (
        GOOD + "    objectives: {quality: maximize, energy: minimize}\nsearch: tune\n",
        "8:37: a tune ends before anything is timed: leave 'energy' out, or write search: grid",
    ),
    "race of so many trials": (
        GOOD + "search: race\nbudget: {max_trials: 9}\n",
        "9:10: how many trials a race needs is what it finds out: bound it by max_hours, or make "
        "it shorter by a larger epsilon or fewer num_examples",
    ),
    # keys
    "unknown key at the top": (
        GOOD + "resource: {}\n",
        "8:1: unknown key 'resource'; did you mean 'resources'? (choices: seeds, keep, ",
    ),
    "unknown key of a workload": (
        GOOD + "    metods: [tome]\n",
        "8:5: unknown key 'metods'; did you mean 'methods'? (choices: seeds, keep, ",
    ),
    "unknown key of measure": (
        GOOD + "measure: {latency_pair: 3}\n",
        "8:11: unknown key 'latency_pair'; did you mean 'latency_pairs'? "
        "(choices: what, latency_pairs, latency_batch, latency_of)",
    ),
    "missing name": (changed("name: tiny\n", ""), "1:1: missing key 'name'"),
    "missing task": (changed("    task: digits\n", ""), "4:3: missing key 'task'"),
    "missing keep": (
        changed("keep: [1.0, 0.5]\n", ""),
        "3:3: digits has no 'keep': give it here or at the top of the file",
    ),
    "missing methods": (
        changed("    methods: [tome]\n", ""),
        "4:3: digits has no 'methods': give it here or at the top of the file",
    ),
    "missing task id": (
        changed("task: digits", "task: {num_examples: 64}"),
        "5:5: missing key 'id'",
    ),
    "key twice": (
        GOOD + "name: again\n",
        "8:1: the key 'name' stands here twice, first in line 1",
    ),
    "key that is a number": (
        changed("  digits:\n", "  1:\n"),
        "4:3: keys are text; 1 needs quotes",
    ),
    # hyperparameters and parameters
    "unknown hyperparameter": (
        changed("[tome]", "[{tome: {share: 0.5}}]"),
        "7:23: unknown parameter of tome 'share'; did you mean 'round_share'? "
        "(choices: round_share)",
    ),
    "hyperparameter out of range": (
        changed("[tome]", "[{tome: {round_share: 0.7}}]"),
        "7:36: round_share: must be at most 0.5, got 0.7",
    ),
    "axis value out of range": (
        changed("[tome]", "[{tome: {round_share: [0.2, 0.7]}}]"),
        "7:42: round_share: must be at most 0.5, got 0.7",
    ),
    "hyperparameter of the wrong kind": (
        changed("[tome]", "[{tome: {round_share: half}}]"),
        "7:36: round_share: expected a number, got 'half'",
    ),
    "boolean hyperparameter": (
        changed("[tome]", "[{tome: {round_share: true}}]"),
        "7:36: round_share: expected a number, got true",
    ),
    "empty axis": (
        changed("[tome]", "[{tome: {round_share: []}}]"),
        "7:36: must not be empty, got []",
    ),
    "hyperparameters of a pattern": (
        changed("[tome]", '[{"vision/*": {round_share: 0.5}}]'),
        "7:16: parameters belong to one method; 'vision/*' is a pattern",
    ),
    "method with two names": (
        changed("[tome]", "[{tome: {}, evit: {}}]"),
        "7:15: expected a method, a pattern or {method: {parameter: value}}, got ",
    ),
    "unknown task parameter": (
        changed("task: digits", "task: {id: digits, num_exmples: 8}"),
        "5:24: unknown key 'num_exmples'; did you mean 'num_examples'? "
        "(choices: num_examples, batch_size)",
    ),
    "task parameter out of range": (
        changed("task: digits", "task: {id: digits, num_examples: 7}"),
        "5:38: num_examples: must be at least 8, got 7",
    ),
    "layer of a schedule": (
        GOOD + "    schedules: [{one-layer: {layer: -1}}]\n",
        "8:37: layer: must be at least 0, got -1",
    ),
    # budgets
    "keep 0": (
        changed("[1.0, 0.5]", "[0]"),
        "2:8: a keep ratio is above 0 and at most 1, got 0",
    ),
    "keep above 1": (
        changed("[1.0, 0.5]", "[4]"),
        '2:8: a keep ratio is above 0 and at most 1, got 4; compression by 4 is written "4x"',
    ),
    "range whose factor is no number": (
        changed("[1.0, 0.5]", "[{from: 1.0e-310, to: 1, steps: 3}]"),
        "2:15: from: must be at least 1e-300, got 1e-310",
    ),
    "keep true": (
        changed("[1.0, 0.5]", "[true]"),
        '2:8: expected a ratio above 0 up to 1, "4x", "64 tokens", "2 MiB" or a range '
        "{from, to, steps}, got true",
    ),
    "factor below 1": (
        changed("[1.0, 0.5]", "[0.5x]"),
        "2:8: compression by a factor is at least 1x, got '0.5x'",
    ),
    "half a token": (
        changed("[1.0, 0.5]", "[1.5 tokens]"),
        "2:8: a number of tokens is whole and at least 1, got '1.5 tokens'",
    ),
    "unknown unit": (
        changed("[1.0, 0.5]", "[2 MiBs]"),
        "2:8: unknown unit 'MiBs'; did you mean 'MiB'? (choices: x, tokens, B, ",
    ),
    "range of one step": (
        changed("[1.0, 0.5]", "[{from: 1, to: 0.5, steps: 1}]"),
        "2:34: steps: must be at least 2, got 1",
    ),
    "range without end": (
        changed("[1.0, 0.5]", "[{from: 1, steps: 3}]"),
        "2:8: missing key 'to'",
    ),
    "keep without brackets": (changed("[1.0, 0.5]", "0.5"), "2:7: keep: expected a list, got 0.5"),
    "empty keep": (changed("[1.0, 0.5]", "[]"), "2:7: keep: must not be empty, got []"),
    "not a number": (changed("0.5", ".nan"), "2:13: expected a finite number, got .nan"),
    "infinite": (changed("0.5", "-.inf"), "2:13: expected a finite number, got -.inf"),
    # other values
    "boolean seed": (GOOD + "seeds: [true]\n", "8:9: seeds: expected a whole number, got true"),
    "fractional seed": (GOOD + "seeds: [0.5]\n", "8:9: seeds: expected a whole number, got 0.5"),
    "negative seed": (GOOD + "seeds: [-1]\n", "8:9: seeds: must be at least 0, got -1"),
    "huge number": (
        GOOD + "seeds: [99999999999999999999]\n",
        "8:9: '99999999999999999999' is too large a number",
    ),
    "name that is a boolean": (
        changed("tiny", "on"),
        "1:7: name: expected text, got true (YAML reads yes, no, on and off as booleans; "
        "quotes make them text)",
    ),
    "name that is a date": (
        changed("tiny", "2024-01-02"),
        "1:7: 2024-01-02 is a date to YAML; quotes make it text",
    ),
    "name with a capital": (
        changed("tiny", "Tiny"),
        "1:7: name: must match the pattern ^[a-z0-9_-]{1,64}$, got 'Tiny'",
    ),
    "no workers": (
        GOOD + "resources: {workers: 0}\n",
        "8:22: expected auto or a whole number of at least 1, got 0",
    ),
    "one and a half GPUs": (
        GOOD + "resources: {gpus: 1.5}\n",
        "8:19: gpus: must be whole above 1, got 1.5",
    ),
    "no trials": (
        GOOD + "budget: {max_trials: 0}\n",
        "8:22: max_trials: must be at least 1, got 0",
    ),
    "text for hours": (
        GOOD + 'budget: {max_hours: "2"}\n',
        "8:21: max_hours: expected a number, got '2'",
    ),
    "resources that are a list": (
        GOOD + "resources: [2]\n",
        "8:12: expected a mapping, got [2]",
    ),
    "priority with a typo": (
        GOOD + "priority: hihg\n",
        "8:11: unknown priority 'hihg'; did you mean 'high'? (choices: low, normal, high)",
    ),
    "priority of nothing": (
        GOOD + "priority: 0\n",
        "8:11: expected low, normal, high or a whole number from 1 to 100, got 0",
    ),
    "no workloads": ("name: a\nworkloads: {}\n", "2:12: workloads: must not be empty, got {}"),
    # objectives that nothing measures
    "cache of a vision model": (
        GOOD + "    objectives: {kv: minimize}\n",
        "8:18: digits has no key/value cache, so 'kv' is not measured",
    ),
    "latency without pairs": (
        GOOD + "objectives: {latency: minimize}\nmeasure: {latency_pairs: 0}\n",
        "8:14: objective 'latency' needs measure.latency_pairs above 0",
    ),
    "latency of the frontier alone": (
        GOOD + "objectives: {latency: minimize}\nmeasure: {latency_of: frontier}\n",
        "8:14: objective 'latency' needs measure.latency_of: all",
    ),
    "batch of nothing": (
        GOOD + "measure: {latency_batch: [8, 0]}\n",
        "8:30: latency_batch: must be at least 1, got 0",
    ),
    "quality in the wrong direction": (
        GOOD + "objectives: {quality: minimize, flops: minimize}\n",
        "8:23: quality of digits is better when larger: write maximize",
    ),
    # the file itself
    "empty": ("", "1:1: the file is empty"),
    "comment only": ("# nothing\n", "1:1: the file is empty"),
    "a list": ("- name: tiny\n", "1:1: expected a mapping with name and workloads, got "),
    "syntax": (changed("[tome]", "[tome"), "8:1: not valid YAML: "),
    "tab": (changed("    task", "\ttask"), "5:1: not valid YAML: "),
    "two documents": (GOOD + "---\nname: b\n", "8:1: not valid YAML: but found another document"),
    "undefined alias": (changed("[tome]", "[*x]"), "7:15: not valid YAML: found undefined alias"),
    "python tag": (
        changed("tiny", "!!python/object/apply:os.getcwd []"),
        "1:7: the tag '!!python/object/apply:os.getcwd' is not used here",
    ),
    "alias inside itself": (
        changed("[tome]", "&a [*a]"),
        "7:14: an alias that contains itself",
    ),
    "half a character": (
        changed("tiny", '"\\ud800"'),
        "1:7: '\\ud800' is not valid Unicode",
    ),
    "control character": (changed("tiny", "\x00"), "1:7: the character '\\x00' is not allowed"),
    "deep nesting": ("a: " + "[" * 5000, "1:35: not valid YAML: nested more than 32 levels deep"),
}


@pytest.mark.parametrize(("text", "start"), ONE_MISTAKE.values(), ids=ONE_MISTAKE)
def test_one_mistake_gives_one_line_at_its_place(text: str, start: str) -> None:
    lines = complaints(text)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"f.yaml:{start}")


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_text() -> None:
    text = changed("[tome]", "[tomee]").replace("0.5", ".nan").replace("tiny", "Tiny")
    lines = complaints(text + "    keep: [0]\nbuget: {}\nname: b\n")
    assert [line.split(":")[1] for line in lines] == ["1", "2", "7", "8", "9", "10"]


def test_mistakes_carry_their_parts_for_machines() -> None:
    with pytest.raises(SweepFileError) as caught:
        parse_sweep(changed("[tome]", "[tomee]"), "f.yaml")
    (mistake,) = caught.value.errors
    parts = json.loads(json.dumps(mistake.to_json()))
    assert parts["file"] == "f.yaml"
    assert (parts["line"], parts["column"]) == (7, 15)
    assert parts["path"] == "workloads.digits.methods.0"
    assert (parts["value"], parts["nearest"]) == ("'tomee'", "tome")
    assert "tome" in parts["choices"]
    assert pickle.loads(pickle.dumps(caught.value)).errors == caught.value.errors


def test_an_alias_bomb_is_refused_quickly() -> None:
    lines = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    (line,) = complaints("\n".join(["l0: &l0 [x]", *lines]))
    assert "more than 50,000 values (aliases count each time)" in line


def test_a_bomb_of_merge_keys_is_refused_quickly() -> None:
    lines = [f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    (line,) = complaints("\n".join(["l0: &l0 {x: 1}", *lines]))
    assert "more than 50,000 values (aliases count each time)" in line


def test_aliases_and_merge_keys_mean_what_yaml_says() -> None:
    text = (
        GOOD.replace("digits:\n", "digits: &base\n") + "  more:\n    <<: *base\n    keep: [0.1]\n"
    )
    spec = parse_sweep(text)
    assert spec.workloads["more"].task == spec.workloads["digits"].task
    assert [keep.label for keep in spec.axes("more").keep] == ["0.1"]  # type: ignore[union-attr]


def test_files_that_cannot_be_read_are_one_clear_error(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_text("#" * (LARGEST_FILE + 1))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: tiny\n# caf\u00e9 \u00e9\n".encode("latin-1"))
    cases = {
        tmp_path / "none.yaml": ": cannot be read: No such file or directory",
        tmp_path: ": cannot be read: Is a directory",
        big: ": larger than 1,048,576 bytes; a sweep file is a few kilobytes",
        latin: ":2:6: not UTF-8 text: the byte 0xe9 stands here",
    }
    for path, message in cases.items():
        with pytest.raises(SweepFileError) as caught:
            load_sweep(path)
        assert str(caught.value) == f"{path}{message}"


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_sweep(path).name == "tiny"


def test_what_was_read_is_kept_because_a_pipe_is_empty_afterwards() -> None:
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode())
    os.close(writing)
    assert load_sweep(f"/dev/fd/{reading}").source.text == GOOD
    os.close(reading)


def test_the_schema_key_of_editors_is_tolerated() -> None:
    assert parse_sweep("$schema: sweep.schema.json\n" + GOOD).name == "tiny"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_sweeps_load_and_survive_json(path: Path) -> None:
    spec = load_sweep(path)
    assert SweepSpec.model_validate(json.loads(spec.model_dump_json(by_alias=True))) == spec


def test_every_way_of_writing_survives_json() -> None:
    text = CACHE.replace("[tome]", '["kv/*", {snapkv: {window_size: [8, 16]}}]') + (
        "    exclude: [random]\n    schedules: [uniform, {one-layer: {layer: [0, 1]}}]\n"
        '    keep: [1, 8x, "64 tokens", 2 MiB, {from: 1.0, to: 0.05, steps: 6}]\n'
        "    objectives: {quality: maximize, kv: minimize}\n"
    )
    spec = parse_sweep(text)
    written = json.loads(spec.model_dump_json(by_alias=True))
    assert written["workloads"]["digits"]["keep"][:4] == [1.0, "8x", "64 tokens", "2 MiB"]
    assert SweepSpec.model_validate(written) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_defaults_are_those_of_the_place() -> None:
    vision, cache = parse_sweep(GOOD).axes("digits"), parse_sweep(changed(
        "[tome]", "[snapkv]", CACHE)).axes("digits")  # fmt: skip
    assert vision.seeds == (0,)
    assert [choice.name for choice in vision.schedules] == ["uniform"]
    assert vision.objectives == {"quality": "maximize", "flops": "minimize"}
    assert cache.objectives == {"quality": "maximize", "kv": "minimize"}
