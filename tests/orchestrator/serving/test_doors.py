"""Keys open the doors, limits close them again, and the numbers of a server add up."""

from __future__ import annotations

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.keys import KeyFile
from orchestrator.serving.doors import Limits
from tests.orchestrator.serving.texts import workload

DIGITS = {"workload": "digits", "inputs": {"example": 7}}


def bearing(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        bearing("ptk_wrong"),
        {"authorization": "ptk_wrong"},
        {"authorization": "Basic cHRrOng="},
        {"authorization": b"Bearer \xff\xfe"},
    ],
    ids=repr,
)
def test_without_a_key_nothing_is_answered(guarded, headers) -> None:
    url, keys = guarded
    keys.add("somebody", 600)
    refused = httpx.post(f"{url}/v1/predict", json=DIGITS, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "API key" in refused.json()["detail"]
    assert httpx.get(f"{url}/healthz", headers=headers).status_code == 200


def test_a_key_works_until_it_is_revoked(guarded) -> None:
    url, keys = guarded
    secret = keys.add("alice", 600)
    assert httpx.get(f"{url}/v1/frontier", headers=bearing(secret)).status_code == 200
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0) as client:
        assert client.models.retrieve("bytes:auto").id == "bytes:auto"
        keys.revoke("alice")
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert httpx.get(f"{url}/v1/frontier", headers=bearing(secret)).status_code == 401


def test_a_tenant_that_asks_too_often_waits_and_nobody_else_does(guarded) -> None:
    url, keys = guarded
    busy, other = keys.add("busy", per_minute=3), keys.add("other", per_minute=600)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=busy, max_retries=0) as client:
        for _ in range(3):
            client.models.list()
        with pytest.raises(openai.RateLimitError) as refused:
            client.models.list()
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 20
    assert httpx.get(f"{url}/v1/models", headers=bearing(other)).status_code == 200


def test_a_bucket_fills_up_again(tmp_path) -> None:
    keys, now = KeyFile(tmp_path / "keys.json"), 100.0
    keys.add("alice", per_minute=2)
    (key,) = keys.read()
    limits = Limits(clock=lambda: now)
    assert [limits.wait(key) for _ in range(3)] == [0, 0, 30]
    now += 30
    assert [limits.wait(key) for _ in range(2)] == [0, 30]
    now += 3600
    assert [limits.wait(key) for _ in range(3)] == [0, 0, 30]


def numbers(url: str) -> dict[tuple[str, ...], float]:
    page = httpx.get(f"{url}/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    samples = [s for f in text_string_to_metric_families(page.text) for s in f.samples]
    return {(s.name, *(f"{k}={v}" for k, v in sorted(s.labels.items()))): s.value for s in samples}


def test_every_request_is_counted_at_its_point(local_url, release) -> None:
    digits, texts = workload(release, "digits"), workload(release, "bytes")
    halved = next(c for c in texts.configurations if c.spec.keep_ratio == 0.25)
    whole = next(c for c in digits.configurations if c.spec.keep_ratio == 1)
    before = numbers(local_url)

    def ask(path: str, **body: object) -> int:
        return httpx.post(f"{local_url}{path}", json=body, timeout=60).status_code

    chosen = {"configuration": whole.trial}
    assert ask("/v1/predict", inputs={"example": 1}, **chosen) == 200
    assert ask("/v1/predict", inputs={"example": 99}, **chosen) == 422
    assert ask("/v1/predict", workload="digits", inputs={}, max_cost=1e-9) == 422
    prompt = {"model": halved.trial, "prompt": "import os\n" * 4, "max_tokens": 5}
    for stream in (False, True):
        assert ask("/v1/completions", **prompt, stream=stream) == 200

    after = numbers(local_url)

    def grown(name: str, point: str = "", workload: str = "", **labels: str) -> float:
        stated = {"point": point, "workload": workload, "release": "0", **labels}
        key = (f"paretoken_{name}", *(f"{k}={v}" for k, v in sorted(stated.items())))
        return after[key] - before.get(key, 0)

    asked = {"endpoint": "/v1/predict", "point": whole.trial, "workload": "digits"}
    assert grown("requests_total", **asked) == 2
    assert grown("request_seconds_count", **asked) == 2
    assert grown("refused_total", **asked, status="422") == 1
    assert grown("refused_total", endpoint="/v1/predict", status="422") == 1
    assert grown("tokens_in_total", whole.trial, "digits") == 37  # 36 patches, class token
    point = (halved.trial, "bytes")
    assert grown("requests_total", *point, endpoint="/v1/completions") == 2
    assert grown("tokens_in_total", *point) == 2 * 41
    assert 9 <= grown("tokens_kept_total", *point) / 2 <= 11
    assert grown("tokens_out_total", *point) == 10
    labels = (f"point={halved.trial}", "release=0", "workload=bytes")
    quality = ("paretoken_expected_quality", *labels)
    assert after[quality] == halved.quality
    assert not any(name.startswith("paretoken_errors_total") for name, *_ in after)
