"""OpenAI's own client speaks to a release: names, budgets, texts, images, streams, refusals."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from PIL import Image

from orchestrator.measurement.models import build_method, open_backbone
from orchestrator.serving.messages import Answer
from orchestrator.serving.points import RELEASE_HEADER
from sweeps.data import dialogues, scenes, source_text, wording
from tests.orchestrator.serving.pictures import png, shown
from tests.orchestrator.serving.texts import PROMPT, workload

BYTES = b"def mean(values):\n    total = sum(values)\n    return total / len(values)\n\n\ndef med"


@pytest.fixture(scope="module")
def client(local_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{local_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def directly(configuration: Any, tokens: list[int], most: int) -> list[int]:
    """The same point on the same tokens, without the engine."""
    spec, backbone = configuration.spec, open_backbone(configuration.spec.backbone)
    prompt = torch.tensor([tokens])
    with backbone.compressed(build_method(spec), spec.schedule, spec.keep_ratio, spec.seed):
        return backbone.generate(prompt, prompt[:, :0], most)[0].tolist()


def test_every_point_of_a_language_model_is_a_model(client, release) -> None:
    listed = {model.id: model for model in client.models.list()}
    texts = [w for w in release.workloads if w.name != "digits"]
    points = {f"{w.name}/{c.trial}" for w in texts for c in w.configurations}
    assert set(listed) == points | {f"{w.name}:auto" for w in texts}
    assert "numbers of tokens" in listed["recall:auto"].tokenizer
    assert "bytes" in listed["bytes:auto"].tokenizer
    assert listed["pictures:auto"].images == 1
    assert client.models.retrieve("bytes:auto").context_length == 2048
    assert client.models.retrieve(next(iter(points))).measured["quality"] >= 0


def test_a_completion_is_the_compressed_models_own_and_says_what_it_held(client, release) -> None:
    held = {}
    for c in workload(release, "bytes").configurations:
        answer = client.completions.create(
            model=f"bytes/{c.trial}", prompt=BYTES.decode(), max_tokens=24
        )
        tokens = directly(c, [source_text.START, *BYTES], 24)
        assert answer.choices[0].text == bytes(tokens).decode("utf-8", "replace")
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.prompt_tokens == 1 + len(BYTES)
        assert answer.usage.completion_tokens == 24
        assert answer.paretoken["configuration"]["trial"] == c.trial
        held[c.spec.keep_ratio] = answer.paretoken["held"]
    ratio = held[0.25]["kv_bytes"] / held[1.0]["kv_bytes"]
    assert ratio == pytest.approx(0.25, abs=0.02)
    assert held[0.25]["tokens_kept"] < 0.27 * len(BYTES)
    assert held[0.25]["compressed"]


def test_the_compressed_cache_is_what_streams(client, release) -> None:
    for c in workload(release, "bytes").configurations:
        asked = {"model": f"bytes/{c.trial}", "prompt": BYTES.decode(), "max_tokens": 16}
        whole = client.completions.create(**asked)
        chunks = list(
            client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        )
        texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
        assert len(texts) == 17  # a piece for each byte, and the end
        assert "".join(texts) == whole.choices[0].text
        assert chunks[-2].choices[0].finish_reason == "length"
        assert chunks[-2].paretoken["held"] == whole.paretoken["held"]
        assert chunks[-1].usage == whole.usage


def test_tokens_can_be_sent_as_numbers_and_answers_end_by_themselves(client, release) -> None:
    best = workload(release, "recall").configurations[0]
    answer = client.completions.create(model=best.trial, prompt=PROMPT, max_tokens=20)
    tokens = [int(part) for part in answer.choices[0].text.split()]
    direct = directly(best, PROMPT, 20)
    ends = direct.index(3) if 3 in direct else 20  # the delimiter is the model's end of sequence
    assert tokens == direct[:ends]
    assert answer.choices[0].finish_reason == ("stop" if ends < 20 else "length")
    spelled = client.completions.create(
        model=best.trial, prompt=" ".join(map(str, PROMPT)), max_tokens=20
    )
    assert spelled.choices == answer.choices
    said = client.chat.completions.create(
        model=best.trial, messages=[{"role": "user", "content": " ".join(map(str, PROMPT))}]
    )
    assert [int(part) for part in said.choices[0].message.content.split()] == direct[:3]


def test_a_stop_string_ends_the_answer_before_it(client) -> None:
    asked = {"model": "bytes:auto", "prompt": BYTES.decode(), "max_tokens": 40}
    whole = client.completions.create(**asked).choices[0].text
    stop = whole[7:10]
    cut = client.completions.create(**asked, stop=[stop, "never in it"])
    assert cut.choices[0].text == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    streamed = client.completions.create(**asked, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == cut.choices[0].text


def test_a_chat_about_a_picture_is_answered_as_the_task_answers(client, release, engine) -> None:
    drawn = dialogues.stream("test", "single", 8)
    pictures = workload(release, "pictures")
    for c, row in itertools.product(pictures.configurations, range(3)):
        question = wording.words(drawn.questions[row, 0])
        uri = png(drawn.pixels[row, 0])
        expected = engine.predict(
            c.trial, {"pixel_values": [seen(uri).tolist()], "questions": [question]}
        )
        assert isinstance(expected, Answer)
        said = client.chat.completions.create(
            model=f"pictures/{c.trial}", messages=shown(question, uri)
        )
        assert said.choices[0].message.content == expected.output["answers"][0]
        assert said.usage.prompt_tokens == 1 + 64 + 3
        kept = said.paretoken["held"]["tokens_kept"]
        assert (kept < 25) == (c.spec.keep_ratio == 0.25)


def seen(uri: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        pixels = np.asarray(image, dtype=np.float32) / 255
    return ((pixels - scenes.PIXEL_MEAN) / scenes.PIXEL_STD).transpose(2, 0, 1)


def test_a_chat_streams(client) -> None:
    uri = png(dialogues.stream("test", "single", 8).pixels[0, 0])
    asked = {"model": "auto", "messages": shown("digit of red", uri)}
    whole = client.chat.completions.create(**asked).choices[0]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.message.content
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason


def test_the_budget_chooses_and_the_headers_say_whom(client, release) -> None:
    cheapest = min(workload(release, "bytes").configurations, key=lambda c: c.measured.kv)
    raw = client.completions.with_raw_response.create(
        model="bytes:auto",
        prompt=BYTES.decode(),
        max_tokens=1,
        extra_body={"max_cost": {"kv": cheapest.measured.kv}},
    )
    assert raw.headers["x-paretoken-point"] == f"bytes/{cheapest.trial}"
    assert raw.headers["x-paretoken-cost"] == f"kv={cheapest.measured.kv:.6g}"
    assert raw.headers["x-paretoken-expected-quality"] == f"{cheapest.quality:.6g}"
    assert raw.parse().model == f"bytes/{cheapest.trial}"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": "bytes"}, openai.NotFoundError, "unknown model 'bytes'; did you mean"),
        ({"model": "auto"}, openai.BadRequestError, "name one (choices: recall:auto"),
        ({"model": "digits:auto"}, openai.BadRequestError, "gives no text"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens: "),
        ({"max_tokens": 4000}, openai.BadRequestError, "fit into 2048 tokens"),
        ({"prompt": ""}, openai.BadRequestError, "at least 2 tokens; got 1"),
        ({"prompt": [1, 257]}, openai.BadRequestError, "from 0 to 256; got 257"),
        ({"prompt": [1, 10**30]}, openai.BadRequestError, "from 0 to 256"),
        ({"prompt": [[1, 2], [3]]}, openai.BadRequestError, "prompt"),
        ({"temperature": 0.7}, openai.BadRequestError, "temperature: "),
        ({"n": 2}, openai.BadRequestError, "n: "),
        ({"logprobs": 3}, openai.BadRequestError, "logprobs: Extra inputs"),
        ({"extra_body": {"max_cost": {"kv": 1e-9}}}, openai.BadRequestError, "nearest possible"),
        ({"extra_body": {"min_quality": 0.5}}, openai.BadRequestError, "minimises its quality"),
        ({"stream": True, "prompt": ""}, openai.BadRequestError, "at least 2 tokens"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_refusals_have_openais_shape(client, changes, error, words) -> None:
    with pytest.raises(error) as refused:
        client.completions.create(**{"model": "bytes:auto", "prompt": "import os", **changes})
    assert words in refused.value.body["message"]
    assert refused.value.body["type"] == "invalid_request_error"


BOMB = io.BytesIO()
Image.new("1", (20_000, 20_000)).save(BOMB, "PNG")
GOOD = png(np.zeros((3, 32, 32)))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (shown("digit of red"), "without images; name one"),
        (shown("digit of red", GOOD, GOOD), "looks at 1 images; got 2"),
        (shown("what is it", GOOD), "unknown word 'what'"),
        (shown("digit", GOOD), "a question has 3 words"),
        (shown("digit of red", "https://example.com/a.png"), "nothing is fetched"),
        (shown("digit of red", "file:///etc/passwd"), "nothing is fetched"),
        (shown("digit of red", "data:image/png;base64,@@@"), "not valid base64"),
        (shown("digit of red", "data:image/png;base64,aGVsbG8="), "cannot be read"),
        (shown("digit of red", GOOD[:-40]), "cannot be read"),
        (
            shown(
                "digit of red",
                "data:image/png;base64," + base64.b64encode(BOMB.getvalue()).decode(),
            ),
            "at most 4194304 pixels",
        ),
        (shown("digit of red", "data:image/png;base64," + "A" * 6_000_000), "4194304 bytes"),
        ([{"role": "system", "content": "Be brief."}, *shown("digit of red", GOOD)], "one user"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_hostile_chats_are_refused(client, messages, words) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="auto", messages=messages)
    assert words in refused.value.body["message"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"model": "bytes:auto", "prompt": ' + b"[" * 500_000,
        b'{"model": "bytes:auto", "prompt": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model": "bytes:auto", "messages": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model": "bytes:auto", "prompt": "a b", "max_cost": NaN}',
        b'{"model": "bytes:auto", "prompt": "a b", "max_tokens": Infinity}',
        b'{"model": "bytes:auto", "prompt": [NaN, 1]}',
        b'{"model": "bytes:auto", "prompt": "a b", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"model": "\\ud800", "prompt": "a b", "messages": []}',
    ],
    ids=lambda value: repr(value)[:60],
)
def test_malformed_requests_are_refused_in_openais_shape(local_url, path, body) -> None:
    headers = {"content-type": "application/json"}
    refused = httpx.post(f"{local_url}{path}", content=body, headers=headers)
    assert refused.status_code in (400, 404)
    assert refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/predict", {"workload": "digits", "inputs": {"example": 99}}),
        ("/v1/predict", {"workload": "digits", "inputs": {"example": 1}, "max_cost": 1e-9}),
        ("/v1/predict", {"inputs": "none"}),
        ("/v1/completions", {"model": "bytes:auto", "prompt": ""}),
        ("/v1/completions", {"model": "bytes:auto", "prompt": "", "stream": True}),
        ("/v1/completions", {"model": "nobody", "prompt": "a b"}),
    ],
)
def test_a_refusal_names_the_release_and_no_point_for_none_has_answered(
    local_url, path, body
) -> None:
    refused = httpx.post(f"{local_url}{path}", json=body, timeout=60)
    assert 400 <= refused.status_code < 500
    assert {name for name in refused.headers if name.startswith("x-paretoken")} == {RELEASE_HEADER}
