"""The task whose context is edited after it was read."""

import json
from pathlib import Path

import pytest
import torch

import sweeps.reference
from methods.backbones.causal_lm import CausalLMBackbone
from methods.edit.conflict_fast_encoding import ConflictFastEncoding
from methods.edit.pie import PIE
from methods.edit.prefix_reuse import PrefixReuse
from methods.schedule import Uniform
from orchestrator.measurement.cost import measure_cost
from sweeps.data import contexts, edits
from sweeps.tasks.edited_recall import EditedRecall

REFERENCE = Path(sweeps.reference.__file__).parent / "llama_recall"
SEEDS = ("seed-0", "seed-1", "seed-2")
ALL = [
    {"edit": kind, "asked": asked}
    for kind in edits.KINDS
    for asked in ("elsewhere", "inside")
    if (kind, asked) != ("delete", "inside")
]
every_edit = pytest.mark.parametrize("fields", ALL, ids=lambda f: f"{f['edit']}-{f['asked']}")


def open_llama(seed="seed-0"):
    return CausalLMBackbone.load(str(REFERENCE / seed), None, torch.float32)


def config():
    return json.loads((REFERENCE / "seed-0" / "config.json").read_text())


def outcomes(task, backbone):
    return torch.cat([task.outcomes(backbone, batch) for batch in task.batches()])


def quality(task, backbone, method):
    with backbone.compressed(method, Uniform(), method.fixed_ratio, 0):
        return outcomes(task, backbone).mean().item()


def places_of(pair, tokens):
    windows = tokens.unfold(0, len(pair), 1)
    return (windows == torch.tensor(pair)).all(1).nonzero().flatten().tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_shipped_llama_answers_from_the_edited_context(seed):
    backbone = open_llama(seed)
    for fields in ALL:
        assert outcomes(EditedRecall(num_examples=64, **fields), backbone).mean() > 0.9


@every_edit
def test_the_asked_pair_stands_where_the_question_says(fields):
    task = EditedRecall(num_examples=16, **fields)
    for batch in task.batches():
        start, put_in = batch.edit.start, batch.replacement.shape[1]
        after = batch.edit.applied(batch.before)
        assert after.shape[1] == 256
        for row in range(len(batch)):
            pair = [batch.question[row, 1].item(), *batch.answer[row].tolist()]
            (place,) = places_of(pair, after[row])
            inside = start <= place < start + put_in
            assert inside == (task.asked == "inside")
            assert inside or place >= start + put_in
            assert bool(places_of(pair, batch.before[row])) == (task.asked == "elsewhere")


@every_edit
def test_edited_contexts_hold_the_pairs_that_were_asked_for(fields):
    batch = EditedRecall(num_examples=16, **fields).batches()[0]
    after = batch.edit.applied(batch.before)
    is_key = (after >= contexts.FIRST_KEY) & (after < contexts.FIRST_VALUE)
    assert (is_key.sum(1) == 12).all()
    assert all(len(set(row[keys].tolist())) == 12 for row, keys in zip(after, is_key, strict=True))
    assert (batch.before[:, 0] == contexts.START).all()
    assert (after != contexts.PADDING).all()


def test_a_replaced_key_had_another_value():
    batch = EditedRecall(num_examples=16, edit="replace", asked="inside").batches()[0]
    for row in range(len(batch)):
        (place,) = places_of([batch.question[row, 1].item()], batch.before[row])
        was = batch.before[row, place + 1 : place + 4]
        assert not set(was.tolist()) & set(batch.answer[row].tolist())


def test_reading_before_the_edit_is_not_counted_and_reuse_saves_the_rest():
    backbone, task = open_llama(), EditedRecall(num_examples=8)
    (batch,) = task.batches()
    whole = measure_cost(lambda: task.outcomes(backbone, batch)).flops
    share = {}
    for method in (PIE(), PrefixReuse()):
        with backbone.compressed(method, Uniform(), method.fixed_ratio, 0):
            unprepared = measure_cost(lambda: task.outcomes(backbone, batch)).flops
            with task.prepared(backbone, batch):
                prepared = measure_cost(lambda: task.outcomes(backbone, batch)).flops
        share[method.id()] = prepared / whole
        assert unprepared - prepared > 0.5 * whole
    assert share["pie"] < 0.2
    assert 0.7 < share["prefix-reuse"] < 1


def test_after_a_long_deletion_stale_positions_fail_and_turned_keys_do_not():
    backbone = open_llama()
    task = EditedRecall(num_examples=64, edit="delete", edit_length=128)
    whole = outcomes(task, backbone).mean().item()
    assert quality(task, backbone, PIE()) > whole - 0.1
    assert quality(task, backbone, ConflictFastEncoding()) < whole - 0.3


def test_a_prediction_agrees_with_its_outcome_and_a_request_with_its_example():
    backbone, task = open_llama(), EditedRecall(num_examples=40, edit="replace")
    batch = task.batches()[0]
    answers = task.predict(backbone, batch)
    right = [float(a["tokens"] == t.tolist()) for a, t in zip(answers, batch.answer, strict=True)]
    assert right == task.outcomes(backbone, batch).tolist()
    example = task.batch_of({"example": 35})
    request = {
        "before": example.before[0].tolist(),
        "start": 32,
        "length": 16,
        "replacement": example.replacement[0].tolist(),
        "question": example.question[0].tolist(),
    }
    asked = task.batch_of(json.loads(json.dumps({"edit": request})))
    assert task.predict(backbone, example) == task.predict(backbone, asked)


GOOD = {"before": [1] * 40, "start": 4, "length": 0, "replacement": [140], "question": [2, 9]}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "exactly one of"),
        ({"example": 64}, "from 0 to 63; got 64"),
        ({"edit": []}, "edit must hold exactly before, length"),
        ({"edit": {"before": [1]}}, "edit must hold exactly"),
        ({"edit": GOOD | {"before": []}}, "before must be a list of 1 to 256 tokens; got 0"),
        ({"edit": GOOD | {"before": [196]}}, "before must be integers from 0 to 195; got 196"),
        ({"edit": GOOD | {"start": -1}}, "start must be an integer from 0; got -1"),
        ({"edit": GOOD | {"length": True}}, "length must be an integer from 0; got True"),
        ({"edit": GOOD | {"start": 41}}, "up to 41 does not fit 40 tokens"),
        ({"edit": GOOD | {"replacement": "x"}}, "replacement must be a list.*got str"),
        ({"edit": GOOD | {"question": [2]}}, "question must be a list of 2 to 2 tokens; got 1"),
        ({"edit": GOOD | {"replacement": [140] * 250}}, "1 to 256 tokens may be left; got 290"),
        (
            {"edit": GOOD | {"start": 0, "length": 40, "replacement": []}},
            "1 to 256 tokens may be left; got 0",
        ),
    ],
)
def test_malformed_inputs_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        EditedRecall(num_examples=64).batch_of(inputs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"edit": "delete", "asked": "inside"}, "cannot be asked for"),
        ({"edit_length": 300}, "do not fit the rest"),
        ({"num_pairs": 1}, "leaves no pair behind the edit"),
        ({"edit": "delete", "num_pairs": 21}, "above 19: 2 are edited away"),
        ({"edit": "replace", "num_pairs": 40}, "less than or equal to 21"),
        ({"edit": "move"}, "'insert', 'delete' or 'replace'"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        EditedRecall(**fields)


def test_incompatible_models_are_refused_with_a_reason():
    assert EditedRecall().incompatible_with(config()) is None
    assert "a vocabulary of 196" in EditedRecall().incompatible_with(config() | {"vocab_size": 10})
    longest = EditedRecall(context_length=1000, edit="delete")
    assert "1037 positions" in longest.incompatible_with(config())
    assert EditedRecall(context_length=1000).incompatible_with(config()) is None


def test_fields_that_change_the_data_change_the_fingerprint():
    tasks = [EditedRecall(**fields) for fields in (*ALL, {"edit_length": 33}, {"num_pairs": 11})]
    assert len({task.data_fingerprint() for task in tasks}) == len(tasks)
    few, many = (EditedRecall(num_examples=n).batches()[0] for n in (8, 64))
    assert torch.equal(few.before, many.before[:8])
