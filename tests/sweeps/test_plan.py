from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from methods.registry import entries
from methods.schedule import num_held
from sweeps.data import wording
from sweeps.keep import KeepRange
from sweeps.load import load_sweep, parse_sweep
from sweeps.mistakes import SweepFileError
from sweeps.patterns import matching
from sweeps.plan import Plan, plan
from sweeps.spec import SweepSpec
from sweeps.trial import TrialSpec

SHIPPED = sorted(Path(__file__, "../../../sweeps").resolve().glob("*.yaml"))
PATCHES = 144


def vision(folder: Path, more: str = "", methods: str = "[tome, evit]") -> str:
    return (
        f"name: v\nkeep: [1.0, 0.5]\nworkloads:\n  w:\n    task: digits\n"
        f"    backbone: {{hf: {folder}}}\n    methods: {methods}\n{more}"
    )


def cache(folder: Path, keep: str, more: str = "", methods: str = "[snapkv]") -> str:
    return (
        f"name: c\nworkloads:\n  w:\n    task: {{id: recall, context_length: 128}}\n"
        f"    backbone: {{hf: {folder}}}\n    methods: {methods}\n    keep: {keep}\n{more}"
    )


def planned(text: str) -> Plan:
    return plan(parse_sweep(text))


def combinations(spec: SweepSpec) -> int:
    """The product of the axes, for files that name every method and budget once."""
    total = 0
    for name in spec.workloads:
        axes = spec.axes(name)
        excluded = {e.id for pattern in axes.exclude for e in matching(pattern)}
        chosen = (pair for choice in axes.methods for pair in choice.expand())
        methods = {(e.id, m.model_dump_json()) for e, m in chosen if e.id not in excluded}
        budgets = sum(len(k.expand()) if isinstance(k, KeepRange) else 1 for k in axes.keep)
        schedules = sum(len(choice.expand()) for choice in axes.schedules)
        total += len(axes.seeds) * len(methods) * budgets * schedules
    return total


def reasons(result: Plan) -> set[str]:
    return {item.reason for item in result.impossible}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_sweeps_plan_every_combination(path: Path) -> None:
    spec = load_sweep(path)
    result = plan(spec)
    assert result.trials
    accounted = len(result.trials) + result.collapsed + len(result.impossible)
    assert accounted == combinations(spec)


def test_a_trial_is_what_the_file_says(vit_folder: Path) -> None:
    result = planned(vision(vit_folder, "seeds: [3]\nschedules: [one-layer]\n", "[dpc-knn]"))
    baseline, trial = (item.spec for item in result.trials)
    assert (baseline.method.id, baseline.schedule.label, baseline.keep_ratio) == (
        "identity",
        "uniform",
        1.0,
    )
    assert trial.method.params == entries()["dpc-knn"].method().model_dump(mode="json")
    assert trial.task.params == {"num_examples": 256, "batch_size": 32}
    assert (trial.seed, trial.keep_ratio, trial.schedule.label) == (3, 0.5, "one-layer@1")
    assert trial.backbone.path == str(vit_folder)


def test_specs_built_without_validation_are_the_validated_ones(vit_folder: Path) -> None:
    for trial in planned(vision(vit_folder, "schedules: [uniform, progressive]\n")).trials:
        again = TrialSpec.model_validate(trial.spec.model_dump())
        assert again == trial.spec
        assert TrialSpec.model_validate_json(trial.spec.model_dump_json()).id == trial.spec.id


def test_at_keep_1_all_methods_and_schedules_are_one_baseline_per_seed(vit_folder: Path) -> None:
    more = "seeds: [0, 1]\nschedules: [uniform, progressive]\n"
    result = planned(vision(vit_folder, more).replace("[1.0, 0.5]", "[1.0]"))
    assert [(t.spec.method.id, t.spec.seed) for t in result.trials] == [
        ("identity", 0),
        ("identity", 1),
    ]
    assert result.collapsed == 2 * 2 * 2 - 2


def test_places_families_and_exclusions_choose_methods(vit_folder: Path) -> None:
    def ids(methods: str, more: str = "") -> set[str]:
        text = vision(vit_folder, more, methods).replace("[1.0, 0.5]", "[0.5]")
        result = planned(text)
        return {t.spec.method.id for t in result.trials} | {i.method for i in result.impossible}

    every = {e.id for e in entries().values() if "vision" in e.places}
    controls = {e.id for e in entries().values() if e.family == "controls"}
    assert controls < every
    assert ids('["vision/*"]') == every
    assert ids('["controls/*"]') == controls
    assert ids('["vision/*"]', "    exclude: [vision/random, controls/uniform, tom*]\n") == (
        every - {"random", "uniform", "tome"}
    )
    assert ids("[vision/tome, tome, {tome: {}}]") == {"tome"}


def test_lists_of_hyperparameters_are_axes(vit_folder: Path) -> None:
    text = vision(vit_folder, methods="[{tome: {round_share: [0.25, 0.5]}}, tome]")
    result = planned(text.replace("[1.0, 0.5]", "[0.5]"))
    shares = [trial.spec.method.params["round_share"] for trial in result.trials]
    assert shares == [0.25, 0.5]


def test_what_cannot_work_is_listed_with_its_reason(vit_folder: Path, llama_folder: Path) -> None:
    text = vision(vit_folder, methods="[identity, snapkv, tome]") + (
        "    keep: [0.5, 0.999, 200 tokens, 1 KiB]\n"
        "    schedules: [uniform, {one-layer: {layer: 9}}]\n"
    )
    result = planned(text)
    assert [t.spec.method.id for t in result.trials] == ["tome"]
    assert reasons(result) == {
        "identity keeps every token, so it runs at keep 1.0 only",
        f"snapkv attaches to kv, this model has vision and weights ({vit_folder})",
        "keep 0.999 of 144 tokens removes none",
        "200 tokens: there are only 144",
        f"1 KiB: {vit_folder} has no key/value cache",
        "layer 9 does not exist: the model has 4 layers",
    }
    assert len(result.trials) + len(result.impossible) == 3 * 4 * 2
    cached = planned(cache(llama_folder, '["2 MiB", "100 B", "33025 B"]'))
    assert cached.trials == ()
    assert {reason.partition(":")[0] for reason in reasons(cached)} == {
        "2 MiB", "100 B", "33025 B"
    }  # fmt: skip


def test_tasks_and_models_that_do_not_fit_are_impossible(
    vit_folder: Path, llama_folder: Path
) -> None:
    swapped = planned(vision(llama_folder))
    assert swapped.trials == ()
    assert len(swapped.impossible) == 4
    assert reasons(swapped) == {
        f"task digits needs a model with vision tokens, {llama_folder} has kv tokens"
    }
    long = planned(cache(llama_folder, "[0.5]").replace("128", "2000"))
    assert long.trials == ()
    assert any("positions" in reason for reason in reasons(long))


def test_reference_weights_that_are_not_there_are_impossible() -> None:
    text = "name: r\nseeds: [0, 987654]\nkeep: [0.5]\nworkloads:\n  w: {task: digits, "
    result = planned(text + "backbone: vit-digits, methods: [tome, evit]}\n")
    assert {trial.spec.seed for trial in result.trials} == {0}
    assert [item.seed for item in result.impossible] == [987654, 987654]
    assert "vit-digits has no weights for seed 987654" in result.impossible[0].reason


@given(num_tokens=st.integers(1, PATCHES))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_budgets_in_tokens_keep_exactly_that_many(vit_folder: Path, num_tokens: int) -> None:
    text = vision(vit_folder).replace("[1.0, 0.5]", f"[{num_tokens} tokens]")
    trial = planned(text).trials[0]
    assert num_held(trial.spec.keep_ratio, PATCHES) == num_tokens
    assert trial.keep_label == f"{num_tokens} tokens"


@pytest.mark.parametrize("schedule", ["uniform", "{one-layer: {layer: 1}}", "progressive"])
@pytest.mark.parametrize("num_bytes", [17_000, 20_000, 25_000])
def test_budgets_in_bytes_are_used_up_and_not_exceeded(
    llama_folder: Path, schedule: str, num_bytes: int
) -> None:
    per_layer = 2 * 2 * 8 * 4  # keys and values, 2 heads of 8 channels, float32

    def total(spec: TrialSpec, tokens: int, num_tokens: int) -> int:
        held = spec.schedule.held(tokens / num_tokens, 2)
        return sum(num_held(fraction, num_tokens) for fraction in held) * per_layer

    text = cache(llama_folder, f"[{num_bytes} B]", f"    schedules: [{schedule}]\n")
    (item,) = planned(text).trials
    num_tokens = 129  # the context and the first token of the question
    tokens = num_held(item.spec.keep_ratio, num_tokens)
    assert total(item.spec, tokens, num_tokens) <= num_bytes
    assert total(item.spec, tokens + 1, num_tokens) > num_bytes


def test_budgets_that_mean_the_same_are_one_trial(vit_folder: Path) -> None:
    text = vision(vit_folder).replace("[1.0, 0.5]", "[0.5, 2x, 72 tokens]")
    result = planned(text)
    assert [trial.keep_label for trial in result.trials] == ["0.5", "0.5"]
    assert result.collapsed == 4


def test_neighbours_share_model_task_and_seed_and_the_baseline_comes_first(
    vit_folder: Path, llama_folder: Path
) -> None:
    text = vision(vit_folder) + (
        f"  c: {{task: recall, backbone: {{hf: {llama_folder}}}, methods: [h2o, snapkv]}}\n"
        f"  again: {{task: digits, backbone: {{hf: {vit_folder}}}, methods: [pitome]}}\n"
        "seeds: [1, 0]\n"
    )
    trials = planned(text).trials
    groups = [(t.spec.backbone.fingerprint, t.spec.data, t.spec.seed) for t in trials]
    changes = 1 + sum(a != b for a, b in itertools.pairwise(groups))
    assert changes == len(set(groups)) == 4
    baselines = [t.spec.method.id == "identity" for t in trials]
    firsts = [groups.index(group) for group in groups]
    for index, is_baseline in enumerate(baselines):
        before = baselines[firsts[index] : index]
        assert not is_baseline or all(before)


def test_trials_are_unique_by_workload_and_id(vit_folder: Path) -> None:
    text = vision(vit_folder) + (
        f"  twin: {{task: digits, backbone: {{hf: {vit_folder}}}, methods: [tome]}}\n"
    )
    trials = planned(text).trials
    keys = [(trial.workload, trial.spec.id) for trial in trials]
    assert len(keys) == len(set(keys)) == 5
    assert len({trial.spec.id for trial in trials}) == 3


def test_what_the_budget_leaves_out_is_listed(vit_folder: Path) -> None:
    whole = planned(vision(vit_folder))
    cut = planned(vision(vit_folder) + "budget: {max_trials: 2}\n")
    assert cut.trials == whole.trials[:2]
    assert [(item.method, item.reason) for item in cut.impossible] == [
        ("evit", "budget.max_trials is 2")
    ]


def test_the_budget_counts_what_two_workloads_share_once(vit_folder: Path) -> None:
    twin = f"  twin: {{task: digits, backbone: {{hf: {vit_folder}}}, methods: [tome]}}\n"
    cut = planned(vision(vit_folder) + twin + "budget: {max_trials: 2}\n")
    assert len({trial.spec.id for trial in cut.trials}) == 2
    assert len(cut.trials) == 4


def test_adding_lines_changes_no_trial_that_was_there(vit_folder: Path) -> None:
    before = {t.spec.id for t in planned(vision(vit_folder)).trials}
    longer = vision(vit_folder, methods="[pitome, tome, evit]").replace("0.5]", "0.5, 0.3]") + (
        "    schedules: [progressive, uniform]\nseeds: [1, 0]\ndescription: more\n"
        "resources: {workers: 2}\nbudget: {max_hours: 2}\n"
        "# a comment\n"
    )
    after = {t.spec.id for t in planned(longer).trials}
    assert before < after


def test_ids_are_the_same_in_another_process(vit_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(vision(vit_folder, "schedules: [uniform, progressive]\n"))
    code = (
        "import json, sys; from sweeps.load import load_sweep; from sweeps.plan import plan; "
        "print(json.dumps([t.spec.id for t in plan(load_sweep(sys.argv[1])).trials]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout) == [t.spec.id for t in plan(load_sweep(file)).trials]


def test_a_moved_model_keeps_its_trials(vit_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(vit_folder)
    here, there = planned(vision(vit_folder)), planned(vision(moved))
    assert [t.spec.id for t in here.trials] == [t.spec.id for t in there.trials]


def test_models_that_cannot_be_opened_are_mistakes_in_the_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    text = vision(empty) + (
        "  second: {task: digits, backbone: {hf: ./nowhere}, methods: [tome]}\n"
    )
    with pytest.raises(SweepFileError) as caught:
        planned(text)
    places = [(mistake.line, mistake.column) for mistake in caught.value.errors]
    assert places == [(6, 15), (8, 36)]
    assert "holds no config.json" in caught.value.errors[0].message
    assert "there is no model directory ./nowhere" in caught.value.errors[1].message


def test_models_of_other_families_name_the_supported_ones(vit_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in vit_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    with pytest.raises(SweepFileError, match=r"unknown architecture 'BertModel'.*choices: .*ViT"):
        planned(vision(folder))


def test_a_method_without_a_budget_is_one_trial_at_its_own_ratio(llama_folder: Path) -> None:
    text = cache(llama_folder, "[1.0, 0.5, 0.25]").replace("snapkv", "torchao-int8")
    (trial,) = (t for t in planned(text).trials if t.spec.method.id == "torchao-int8")
    assert (trial.keep_label, trial.spec.keep_ratio) == ("0.5", 0.5)


def test_the_papers_schedule_is_each_methods_own(llama_folder: Path) -> None:
    text = cache(llama_folder, "[0.5]").replace("snapkv", "pyramidkv, snapkv")
    text += "    schedules: [paper]\n"
    labels = {t.spec.method.id: t.spec.schedule.label for t in planned(text).trials}
    assert labels == {"pyramidkv": "pyramid", "snapkv": "uniform"}


def test_a_stack_is_a_trial_like_any_other(llama_folder: Path) -> None:
    stages = "[{method: snapkv}, {method: kivi, params: {bits: 4}}]"
    text = cache(llama_folder, "[1.0, 0.5]").replace("snapkv", f"{{stack: {{stages: [{stages}]}}}}")
    trials = [t.spec for t in planned(text).trials]
    assert [(t.method.id, t.keep_ratio) for t in trials] == [("stack", 1.0), ("stack", 0.5)]
    assert len({t.id for t in trials}) == 2


def test_a_stack_with_budgets_of_its_own_is_one_trial_for_all_the_sweeps(
    llama_folder: Path,
) -> None:
    stack = "[{stack: [{snapkv: {keep: 0.5}}, {kivi: {bits: 4}}]}]"
    found = planned(cache(llama_folder, "[0.75, 0.5, 0.25]").replace("[snapkv]", stack))
    assert [(trial.spec.method.id, trial.keep_label) for trial in found.trials] == [
        ("stack", "0.5")
    ]
    assert (found.collapsed, found.impossible) == (2, ())


def test_lists_inside_a_stack_are_axes(llama_folder: Path) -> None:
    text = cache(llama_folder, "[0.5]").replace(
        "[snapkv]", "[{stack: [{snapkv: {keep: [0.5, 0.25]}}, {kivi: {bits: [4, 2]}}]}]"
    )
    stacks = [trial.spec.method.params["stages"] for trial in planned(text).trials]
    found = {(first["keep"], second["params"]["bits"]) for first, second in stacks}
    assert found == {(0.5, 4), (0.5, 2), (0.25, 4), (0.25, 2)}


@pytest.fixture(scope="module")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face model of the picture tasks: 2 language layers behind a tower of 3."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava

    folder = tmp_path_factory.mktemp("models") / "llava"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = CLIPVisionConfig(num_hidden_layers=3, image_size=32, patch_size=4, **sizes)
    text = LlamaConfig(num_hidden_layers=2, vocab_size=wording.VOCABULARY, **sizes)
    torch.manual_seed(0)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=wording.IMAGE)
    Llava(config).save_pretrained(folder)
    return folder


def pictures(folder: Path, methods: str, more: str = "") -> Plan:
    return planned(
        f"name: p\nkeep: [0.5]\nworkloads:\n  w:\n    task: vqa\n"
        f"    backbone: {{hf: {folder}}}\n    methods: {methods}\n{more}"
    )


@pytest.mark.parametrize(
    "methods",
    [
        "[fastv]",
        "[{stack: [{fastv: {keep: 0.5}}]}]",
        "[{stack: [{divprune: {schedule: {kind: one-layer, layer: 2}}}, {snapkv: {keep: 0.5}}]}]",
    ],
    ids=["paper", "stage-with-a-budget", "stage-with-a-schedule"],
)
def test_a_stage_whose_layer_is_not_there_is_impossible(llava_folder: Path, methods: str) -> None:
    result = pictures(llava_folder, methods, "    schedules: [paper]\n")
    assert result.trials == ()
    assert reasons(result) == {"layer 2 does not exist: the model has 2 layers"}


def test_a_schedule_counts_the_layers_of_the_place_that_it_is_for(llava_folder: Path) -> None:
    deep = "    schedules: [{one-layer: {layer: 2}}]\n"
    (trial,) = pictures(llava_folder, "[tome]", deep).trials
    assert trial.spec.schedule.label == "one-layer@2"
    deeper = pictures(llava_folder, "[tome]", deep.replace("2", "3"))
    assert reasons(deeper) == {"layer 3 does not exist: the model has 3 layers"}


def test_tasks_that_give_a_method_nothing_to_do_are_impossible(
    llama_folder: Path, llava_folder: Path
) -> None:
    idle = planned(cache(llama_folder, "[0.5]", methods='["edit/*", prompt-lookup, snapkv]'))
    edits = {entry.id for entry in entries().values() if entry.family == "edit"}
    assert {item.method for item in idle.impossible} == edits
    assert reasons(idle) == {"recall edits no prompt, so that there is no cache to edit"}
    stacked = "[{stack: [snapkv, prompt-lookup]}]"
    assert reasons(pictures(llava_folder, stacked)) == {
        "vqa generates answers of one token, so that none can be drafted ahead"
    }
    edited = cache(llama_folder, "[0.5]", methods='["edit/*"]').replace("recall", "edited-recall")
    assert {trial.spec.method.id for trial in planned(edited).trials} == edits


def test_readers_that_would_read_everything_are_impossible(llama_folder: Path) -> None:
    methods = "[tidaldecode, {quest: {full_layers: [1, 2]}}]"
    result = planned(cache(llama_folder, "[0.5]", methods=methods))
    assert [trial.spec.method.params["full_layers"] for trial in result.trials] == [1]
    assert reasons(result) == {
        f"{name} reads the whole cache in each of the model's 2 layers"
        for name in ("tidaldecode", "quest")
    }


def test_stages_that_cannot_work_together_are_impossible(
    llama_folder: Path, llava_folder: Path
) -> None:
    stacks = "[{stack: [adakv, sink-window]}, {stack: [pyramidkv, {tidaldecode: {select: 0}}]}]"
    assert reasons(planned(cache(llama_folder, "[0.5]", methods=stacks))) == {
        "adakv leaves every head its own number of entries; sink-window needs heads that hold "
        "equally many",
        "tidaldecode reads in a layer the entries that another layer chose; pyramidkv leaves every "
        "layer entries of its own",
    }
    tidal = "{tidaldecode: {select: 0}}"
    inside = f"{{stack: [{{divprune: {{schedule: {{kind: one-layer}}}}}}, {tidal}]}}"
    result = pictures(llava_folder, f"[{inside}, {{stack: [divprune, {tidal}]}}]")
    (at_the_doorstep,) = result.trials
    assert at_the_doorstep.spec.method.params["stages"][0]["schedule"] is None
    assert reasons(result) == {
        "tidaldecode reads in layer 1 the entries that layer 0 chose; divprune cuts tokens between "
        "the two"
    }
