import json
from pathlib import Path

import pytest
import torch

import sweeps.reference
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.vit import ViTBackbone
from sweeps.tasks.digits import Digits
from sweeps.tasks.recall import Recall

REFERENCE = Path(sweeps.reference.__file__).parent
SEEDS = ("seed-0", "seed-1", "seed-2")


def open_vit(seed="seed-0"):
    return ViTBackbone.load(str(REFERENCE / "vit_digits" / seed), None, torch.float32)


def open_llama(seed="seed-0"):
    return CausalLMBackbone.load(str(REFERENCE / "llama_recall" / seed), None, torch.float32)


def config(name):
    return json.loads((REFERENCE / name / "seed-0" / "config.json").read_text())


def mean_outcome(task, backbone):
    return torch.cat([task.outcomes(backbone, batch) for batch in task.batches()]).mean().item()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_shipped_vit_solves_digits(seed):
    assert mean_outcome(Digits(num_examples=256), open_vit(seed)) > 0.93


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("question", ["known", "unknown"])
def test_every_shipped_llama_solves_recall(seed, question):
    assert mean_outcome(Recall(num_examples=128, question=question), open_llama(seed)) > 0.93


def test_a_prediction_agrees_with_its_outcome():
    for task, backbone, key in (
        (Digits(), open_vit(), "label"),
        (Recall(), open_llama(), "tokens"),
    ):
        batch = task.batches()[0]
        answers = batch.labels if key == "label" else batch.answer
        right = [
            float(p[key] == a)
            for p, a in zip(task.predict(backbone, batch), answers.tolist(), strict=False)
        ]
        assert right == task.outcomes(backbone, batch).tolist()


def test_a_request_with_the_content_of_an_example_is_answered_like_it():
    digits, recall = Digits(num_examples=64), Recall(num_examples=64)
    pixels = digits.batches()[1].pixel_values[8].tolist()
    vit, llama = open_vit(), open_llama()
    one = digits.predict(vit, digits.batch_of({"example": 40}))
    assert one == digits.predict(vit, digits.batch_of({"pixel_values": pixels}))
    batch = recall.batch_of({"example": 40})
    tokens = torch.cat([batch.context, batch.question], dim=1)[0].tolist()
    assert recall.predict(llama, batch) == recall.predict(
        llama, recall.batch_of({"input_ids": tokens})
    )
    json.dumps(one)


BLANK = [[[0.0] * 48] * 48] * 3


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "exactly one of"),
        ({"example": 1, "pixel_values": BLANK}, "exactly one of"),
        ({"picture": BLANK}, "exactly one of"),
        ({"example": 64}, "from 0 to 63; got 64"),
        ({"example": -1}, "got -1"),
        ({"example": True}, "got True"),
        ({"example": 1.0}, "got 1.0"),
        ({"pixel_values": "scene"}, "shape"),
        ({"pixel_values": [[1.0], [1.0, 2.0]]}, "rows differ"),
        ({"pixel_values": BLANK[:1]}, r"got \(1, 48, 48\)"),
        ({"pixel_values": [[["1"] * 48] * 48] * 3}, "numbers only"),
        ({"pixel_values": [[[None] * 48] * 48] * 3}, "numbers only"),
        ({"pixel_values": [[[float("nan")] * 48] * 48] * 3}, "finite"),
        ({"pixel_values": [[[1e300] * 48] * 48] * 3}, "finite"),
    ],
)
def test_digits_refuses_malformed_inputs(inputs, message):
    with pytest.raises(ValueError, match=message):
        Digits(num_examples=64).batch_of(inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"example": 256}, "got 256"),
        ({"input_ids": "text"}, "got str"),
        ({"input_ids": []}, "got 0"),
        ({"input_ids": [1] * 259}, "3 to 258 tokens; got 259"),
        ({"input_ids": [1, 2, 196]}, "got 196"),
        ({"input_ids": [1, 2, True]}, "got True"),
        ({"input_ids": [1, 3, 5]}, r"end in a question.*got \[3, 5\]"),
        ({"input_ids": [1, 2, 99]}, r"end in a question.*got \[2, 99\]"),
    ],
)
def test_recall_refuses_malformed_inputs(inputs, message):
    with pytest.raises(ValueError, match=message):
        Recall().batch_of(inputs)


def test_incompatible_models_are_refused_with_a_reason():
    vit, llama = config("vit_digits"), config("llama_recall")
    assert Digits().incompatible_with(vit) is None
    assert Recall().incompatible_with(llama) is None
    assert "image_size 48" in Digits().incompatible_with(vit | {"image_size": 224})
    assert "num_channels 3" in Digits().incompatible_with(vit | {"num_channels": 1})
    assert "10 classes" in Digits().incompatible_with(vit | {"id2label": {"0": "a"}})
    assert "image_size" in Digits().incompatible_with(llama)
    assert "vocabulary" in Recall().incompatible_with(vit)
    assert "positions" in Recall(context_length=1020).incompatible_with(llama)


def test_fields_that_change_the_data_change_the_fingerprint():
    tasks = [
        Recall(),
        Recall(num_pairs=11),
        Recall(context_length=255),
        Recall(question="unknown"),
        Recall(num_examples=255),
        Digits(),
        Digits(num_examples=255),
    ]
    assert len({task.data_fingerprint() for task in tasks}) == len(tasks)
    assert Recall().data_fingerprint() == Recall(num_pairs=12).data_fingerprint()


def test_pairs_that_do_not_fit_the_context_are_refused():
    assert Recall(context_length=61).num_pairs == 12
    with pytest.raises(ValueError, match="needs 61 tokens; context_length is 60"):
        Recall(context_length=60)
