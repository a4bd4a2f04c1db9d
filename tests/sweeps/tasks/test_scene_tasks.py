"""The tasks on 48x48 scenes besides digits: retrieval, zero-shot and dense."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

import sweeps.reference
from methods import registry as methods_registry
from methods.backbones.registry import adapter_for
from sweeps.data import captions
from sweeps.models import references
from sweeps.tasks.dense import Dense
from sweeps.tasks.retrieval import Retrieval
from sweeps.tasks.zero_shot import ZeroShot

REFERENCE = Path(sweeps.reference.__file__).parent
SEEDS = (0, 1, 2)
BACKBONES = {Retrieval: "clip_scenes", ZeroShot: "clip_scenes", Dense: "vit_dense"}
TASKS = list(BACKBONES)


def config(name, seed=0):
    return json.loads((REFERENCE / name / f"seed-{seed}" / "config.json").read_text())


@cache
def opened(name, seed=0):
    adapter = adapter_for(config(name, seed))
    return adapter.load(str(REFERENCE / name / f"seed-{seed}"), None, torch.float32)


def quality(task, seed=0, method="identity", keep_ratio=1.0):
    backbone, chosen = opened(BACKBONES[type(task)], seed), methods_registry.build(method, {})
    with backbone.compressed(chosen, chosen.home, keep_ratio, seed=0):
        outcomes = [task.outcomes(backbone, batch) for batch in task.batches()]
    return torch.cat(outcomes).mean().item()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("task", "least"),
    [
        (Retrieval(num_examples=128), 0.6),
        (Retrieval(num_examples=128, likeness="far"), 0.9),
        (ZeroShot(num_examples=128), 0.7),
        (ZeroShot(num_examples=128, attribute="colour"), 0.95),
        (Dense(num_examples=64), 0.8),
    ],
    ids=["near", "far", "digit", "colour", "dense"],
)
def test_every_shipped_backbone_does_its_tasks(task, least, seed):
    if seed not in references()[BACKBONES[type(task)].replace("_", "-")].seeds:
        pytest.skip(f"{BACKBONES[type(task)]} has no weights for seed {seed} yet")
    assert quality(task, seed) > least


@pytest.mark.parametrize("task", [each(num_examples=64) for each in TASKS], ids=lambda t: t.id)
def test_losing_random_patches_costs_more_than_merging_similar_ones(task):
    merged, random = (quality(task, 0, m, 0.25) for m in ("tome", "random"))
    assert merged > random + 0.07


@pytest.mark.parametrize("corruption", ["noise", "blur", "contrast"])
def test_a_corruption_costs_accuracy(corruption):
    clean = quality(ZeroShot(num_examples=128))
    assert quality(ZeroShot(num_examples=128, corruption=corruption, severity=5)) < clean - 0.05


def test_a_near_gallery_is_harder_than_a_far_one_under_compression():
    near, far = (
        quality(Retrieval(num_examples=128, likeness=likeness), 0, "evit", 0.25)
        for likeness in ("near", "far")
    )
    assert near < far - 0.1


def test_predictions_agree_with_outcomes():
    retrieval, zero_shot, dense = (task(num_examples=32) for task in TASKS)
    clip, vit = opened("clip_scenes"), opened("vit_dense")
    batch = retrieval.batches()[0]
    answers = retrieval.predict(clip, batch)
    right = [float(a["index"] == own) for a, own in zip(answers, batch.right.tolist(), strict=True)]
    assert right == retrieval.outcomes(clip, batch).tolist()
    for row, answer in enumerate(answers):
        assert captions.encode(answer["caption"]).tolist() == (
            batch.captions[row, answer["index"]].tolist()
        )
    batch = zero_shot.batches()[0]
    right = [
        float(captions.DIGITS.index(a["label"]) == label)
        for a, label in zip(zero_shot.predict(clip, batch), batch.labels.tolist(), strict=True)
    ]
    assert right == zero_shot.outcomes(clip, batch).tolist()
    batch = dense.batches()[0]
    painted = torch.tensor([answer["classes"] for answer in dense.predict(vit, batch)])
    share = (painted == batch.classes).float().mean()
    assert share > 0.95


def test_padding_does_not_change_a_captions_embedding():
    clip = opened("clip_scenes")
    prompt = torch.from_numpy(captions.encode("red two top left"))[None]
    torch.testing.assert_close(clip.text_embeddings(prompt), clip.text_embeddings(prompt[:, :6]))


@pytest.mark.parametrize("task", [each(num_examples=64) for each in TASKS], ids=lambda t: t.id)
def test_a_request_with_the_content_of_an_example_is_answered_like_it(task):
    backbone, batch = opened(BACKBONES[type(task)]), task.batches()[1]
    inputs = {"pixel_values": batch.pixel_values[8].tolist()}
    if isinstance(task, Retrieval):
        inputs["captions"] = [captions.decode(row) for row in batch.captions[8].numpy()]
    one = task.predict(backbone, task.batch_of({"example": 40}))
    assert one == task.predict(backbone, task.batch_of(inputs))
    json.dumps(one)


BLANK = [[[0.0] * 48] * 48] * 3
MALFORMED = [
    ({}, "must hold"),
    ({"picture": BLANK}, "must hold"),
    ({"example": 1, "pixel_values": BLANK}, "must hold"),
    ({"example": 64}, "from 0 to 63; got 64"),
    ({"example": True}, "got True"),
]
PICTURES = [
    ("scene", "shape"),
    ([[1.0], [1.0, 2.0]], "rows differ"),
    (BLANK[:1], r"got \(1, 48, 48\)"),
    ([[["1"] * 48] * 48] * 3, "numbers only"),
    ([[[float("nan")] * 48] * 48] * 3, "finite"),
]


@pytest.mark.parametrize("task", [each(num_examples=64) for each in TASKS], ids=lambda t: t.id)
@pytest.mark.parametrize(
    ("inputs", "message"),
    MALFORMED + [({"pixel_values": picture}, message) for picture, message in PICTURES],
)
def test_malformed_inputs_are_refused(task, inputs, message):
    if isinstance(task, Retrieval) and set(inputs) == {"pixel_values"}:
        inputs = inputs | {"captions": ["red two top left"]}
    with pytest.raises(ValueError, match=message):
        task.batch_of(inputs)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("red two", "list of at least one"),
        ([], "list of at least one"),
        ([3], "list of at least one"),
        (["a red tree"], "unknown word 'a'"),
        ([""], "1 to 14 words; got 0"),
    ],
)
def test_malformed_captions_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        Retrieval(num_examples=64).batch_of({"pixel_values": BLANK, "captions": texts})


def test_incompatible_models_are_refused_with_a_reason():
    clip, dense, digits = (config(name) for name in ("clip_scenes", "vit_dense", "vit_digits"))
    assert all(task().incompatible_with(config(BACKBONES[task])) is None for task in TASKS)
    assert "dual encoder" in Retrieval().incompatible_with(digits)
    words = clip | {"text_config": clip["text_config"] | {"vocab_size": 49408}}
    assert "26 words" in ZeroShot().incompatible_with(words)
    large = clip | {"vision_config": clip["vision_config"] | {"image_size": 224}}
    assert "image_size 48" in ZeroShot().incompatible_with(large)
    assert "encoder_stride" in Dense().incompatible_with(dense | {"encoder_stride": 16})
    assert "image_size" in Dense().incompatible_with(clip)


def test_tokens_are_the_patches():
    assert {task().num_tokens(config(BACKBONES[task])) for task in TASKS} == {144}


def test_fields_that_change_the_data_change_the_fingerprint():
    tasks = [
        Retrieval(),
        Retrieval(likeness="far"),
        Retrieval(num_candidates=64),
        ZeroShot(),
        ZeroShot(attribute="colour"),
        ZeroShot(corruption="blur"),
        ZeroShot(corruption="blur", severity=5),
        Dense(),
        Dense(num_examples=255),
    ]
    assert len({task.data_fingerprint() for task in tasks}) == len(tasks)


def test_batches_cut_galleries_anywhere_without_changing_an_outcome():
    clip = opened("clip_scenes")
    whole, cut = Retrieval(num_examples=40), Retrieval(num_examples=40, batch_size=12)
    outcomes = [
        torch.cat([task.outcomes(clip, batch) for batch in task.batches()]).tolist()
        for task in (whole, cut)
    ]
    assert outcomes[0] == outcomes[1]
