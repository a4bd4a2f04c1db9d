import json
from pathlib import Path

import pytest
import torch

import sweeps.reference
from methods.backbones.causal_lm import CausalLMBackbone
from methods.controls.random import Random
from methods.kv.snapkv import SnapKV
from methods.kv.streaming_llm import StreamingLLM
from methods.schedule import Uniform
from sweeps.data import source_text
from sweeps.tasks.text import Text
from sweeps.tasks.threads import ThreadsTask

REFERENCE = Path(sweeps.reference.__file__).parent
SEEDS = ("seed-0", "seed-1", "seed-2")


def open_backbone(name, seed="seed-0"):
    return CausalLMBackbone.load(str(REFERENCE / name / seed), None, torch.float32)


def config(name):
    return json.loads((REFERENCE / name / "seed-0" / "config.json").read_text())


def outcomes(task, backbone):
    return torch.cat([task.outcomes(backbone, batch) for batch in task.batches()])


def compressed(task, backbone, method, keep):
    with backbone.compressed(method, Uniform(), keep, seed=0):
        return outcomes(task, backbone)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "knobs",
    [
        {"question": "known"},
        {"question": "unknown"},
        {"hops": 3, "num_threads": 6},
        {"needles": 2},
        {"context_length": 128, "num_threads": 6},
    ],
    ids=str,
)
def test_every_shipped_llama_follows_threads(seed, knobs):
    task = ThreadsTask(num_examples=64, **knobs)
    assert outcomes(task, open_backbone("llama_threads", seed)).mean() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_every_shipped_llama_has_learned_text(seed):
    scores = outcomes(
        Text(num_examples=64, continuation_length=64), open_backbone("llama_text", seed)
    )
    assert 1.0 < scores.mean() < 2.2  # a byte costs eight bits to who knows nothing


def test_text_is_scored_as_the_uncompressed_model_scores_it():
    task, backbone = Text(num_examples=8, context_length=64), open_backbone("llama_text")
    window = torch.from_numpy(source_text.stream("test", 8, 64 + 1 + 16))
    log_probabilities = backbone.model(window[:, :-1]).logits.log_softmax(-1)
    of_bytes = log_probabilities.gather(-1, window[:, 1:, None])[..., 0][:, -16:]
    expected = -of_bytes.mean(1) / torch.log(torch.tensor(2.0))
    torch.testing.assert_close(outcomes(task, backbone), expected, atol=1e-4, rtol=1e-4)


def test_every_scored_byte_is_predicted_from_the_compressed_cache():
    task, backbone = Text(num_examples=64, continuation_length=1), open_backbone("llama_text")
    lost = compressed(task, backbone, Random(), 0.02) - outcomes(task, backbone)
    assert lost.mean() > 0.3


def test_what_the_question_attends_to_keeps_one_hop_better_than_two():
    backbone = open_backbone("llama_threads")
    kept = {
        hops: compressed(
            ThreadsTask(num_examples=64, hops=hops, num_threads=8), backbone, SnapKV(), 0.25
        ).mean()
        for hops in (1, 2)
    }
    assert kept[1] > kept[2] + 0.2


def test_text_forgives_the_loss_of_what_is_long_past_and_not_of_anything():
    task, backbone = Text(num_examples=64), open_backbone("llama_text")
    window = compressed(task, backbone, StreamingLLM(), 0.25)
    anything = compressed(task, backbone, Random(), 0.25)
    assert (anything - window).mean() > 0.1


@pytest.mark.parametrize("needles", [1, 3])
def test_a_thread_request_with_the_content_of_an_example_is_answered_like_it(needles):
    task, backbone = ThreadsTask(num_examples=64, needles=needles), open_backbone("llama_threads")
    batch = task.batch_of({"example": 40})
    tokens = torch.cat([batch.context, batch.question], dim=1)[0].tolist()
    assert task.predict(backbone, batch) == task.predict(
        backbone, task.batch_of({"input_ids": tokens})
    )


def test_a_text_request_is_scored_like_the_example_with_its_content():
    task, backbone = Text(num_examples=64), open_backbone("llama_text")
    numbers = range(64)
    batches = [task.batch_of({"example": number}) for number in numbers]
    windows = [torch.cat([b.context, b.fed[:, :1], b.continuation], dim=1)[0, 1:] for b in batches]
    number, window = next((n, w) for n, w in zip(numbers, windows, strict=True) if w.max() < 128)
    text = bytes(window.tolist()).decode()
    [one], [other] = (
        task.predict(backbone, task.batch_of(inputs))
        for inputs in ({"example": number}, {"text": text})
    )
    assert one == other
    assert one["bits_per_byte"] == pytest.approx(outcomes(task, backbone)[number].item(), abs=1e-4)


@pytest.mark.parametrize(
    ("task", "inputs", "message"),
    [
        (ThreadsTask(), {}, "exactly one of"),
        (ThreadsTask(), {"input_ids": [1] * 300}, "6 to 261 tokens; got 300"),
        (ThreadsTask(), {"input_ids": [1, 124, 5, 3, 2, 196]}, "from 0 to 195; got 196"),
        (ThreadsTask(), {"input_ids": [1, 124, 5, 3, 2, 125]}, "must end in a question of 5"),
        (ThreadsTask(), {"example": 256}, "from 0 to 255; got 256"),
        (Text(), {"text": 3}, "string; got int"),
        (Text(), {"text": "x" * 16}, "17 to 528 bytes in UTF-8; got 16"),
        (Text(), {"text": "é" * 300}, "got 600"),
        (Text(), {"input_ids": [1]}, "exactly one of"),
    ],
)
def test_malformed_requests_are_refused(task, inputs, message):
    with pytest.raises(ValueError, match=message):
        task.batch_of(inputs)


def test_incompatible_models_are_refused_with_a_reason():
    follower, reader = config("llama_threads"), config("llama_text")
    assert ThreadsTask().incompatible_with(follower) is None
    assert Text().incompatible_with(reader) is None
    assert "needs a vocabulary of 257; this model has 196" in Text().incompatible_with(follower)
    assert "positions" in Text(context_length=2048).incompatible_with(reader)
    assert "positions" in ThreadsTask(context_length=1020).incompatible_with(follower)


def test_every_knob_changes_the_fingerprint():
    tasks = [
        ThreadsTask(),
        ThreadsTask(hops=1),
        ThreadsTask(needles=2),
        ThreadsTask(num_threads=9),
        ThreadsTask(context_length=128),
        ThreadsTask(question="unknown"),
        Text(),
        Text(context_length=128),
        Text(continuation_length=8),
    ]
    assert len({task.data_fingerprint() for task in tasks}) == len(tasks)


def test_other_text_gives_another_fingerprint(monkeypatch):
    before = Text().data_fingerprint()
    monkeypatch.setattr(source_text, "digests", lambda split: ("code.py 0",))
    assert Text().data_fingerprint() != before


def test_the_compressed_tokens_are_counted():
    assert ThreadsTask().num_tokens({}) == 256 + 4  # the fifth token of the question comes after
    assert ThreadsTask(question="unknown").num_tokens({}) == 256
    assert Text().num_tokens({}) == 512


def test_threads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="need 49 tokens; context_length is 48"):
        ThreadsTask(context_length=48)
    with pytest.raises(ValueError, match="more than the 2 threads"):
        ThreadsTask(num_threads=2, needles=3)
