"""Lists among a task's parameters make workloads; mistakes in them are found in the file."""

from __future__ import annotations

import pytest

from sweeps.load import parse_sweep
from sweeps.mistakes import SweepFileError
from sweeps.plan import plan

TEXT = """name: lengths
keep: [0.5]
methods: [snapkv]
measure: [cost]
workloads:
  cache:
    task: {id: shape-kv, prompt_length: LENGTHS, new_tokens: [2, 4, 2]}
    backbone: {config: llama-3-8b, weights: random, layers: 1}
"""


def test_lists_of_parameters_are_workloads() -> None:
    spec = parse_sweep(TEXT.replace("LENGTHS", "[32, 64]"))
    assert list(spec.workloads) == ["cache-32-2", "cache-32-4", "cache-64-2", "cache-64-4"]
    lengths = {t.workload: t.spec.task.params["prompt_length"] for t in plan(spec).trials}
    assert lengths == {name: int(name.split("-")[1]) for name in spec.workloads}
    assert parse_sweep(TEXT.replace("LENGTHS", "64")).workloads.keys() == {"cache-2", "cache-4"}


def test_a_list_of_one_is_the_value_itself_as_far_as_trials_go() -> None:
    several = plan(parse_sweep(TEXT.replace("LENGTHS", "[32, 64]"))).trials
    one = plan(parse_sweep(TEXT.replace("LENGTHS", "64").replace("[2, 4, 2]", "4"))).trials
    assert {trial.spec.id for trial in one} < {trial.spec.id for trial in several}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("LENGTHS", "[32, 1]", "7:46: prompt_length: must be at least 2, got 1"),
        ("LENGTHS", "[]", "7:41: prompt_length: expected a whole number, got []"),
        ("LENGTHS, new_tokens", "32, new_token", "7:45: unknown key 'new_token'"),
        ("llama-3-8b", "llama-3-9b", "8:15: unknown config"),
        (
            "measure: [cost]",
            "measure: {what: [cost, latency], latency_batch: [1, 8]}",
            "4:49: task shape-kv has a batch_size",
        ),
    ],
)
def test_mistakes_are_where_the_file_has_them(old: str, new: str, expected: str) -> None:
    text = TEXT.replace(old, new).replace("LENGTHS", "32")
    with pytest.raises(SweepFileError) as caught:
        plan(parse_sweep(text, "s.yaml"))
    for line in str(caught.value).splitlines():
        assert expected in line, caught.value


def test_two_workloads_of_one_name_are_refused() -> None:
    text = TEXT.replace("LENGTHS", "32").replace("[2, 4, 2]", "[2]")
    twin = text.split("workloads:\n")[1].replace("cache:", "cache-2:").replace("[2]", "2")
    with pytest.raises(SweepFileError, match="6:3: cache stands for several workloads"):
        parse_sweep(text + twin)
