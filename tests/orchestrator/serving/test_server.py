"""A real Ray Serve server, spoken to over HTTP: every endpoint, every refusal, hostile requests."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks

from orchestrator.keys import KeyFile, keys_file
from orchestrator.measurement.models import open_backbone
from orchestrator.releases.freezing import chosen
from orchestrator.serving import TLS, Address, Release, address_for, serve_sweep
from orchestrator.serving.messages import Answer
from orchestrator.serving.points import CONFIGURATION_HEADER, RELEASE_HEADER
from orchestrator.serving.refusals import MAX_BODY_BYTES
from store.questions.answers import ask
from store.questions.asked import BestQuestion
from store.releases.ledger import Ledger
from store.releases.line import Step, Terms
from store.releases.release import Configuration
from store.repository import Store
from tests.orchestrator.serving.certificates import self_signed
from tests.orchestrator.serving.pictures import png, shown
from tests.orchestrator.serving.rollouts import copied, passed, take
from tests.orchestrator.serving.texts import workload

START_SECONDS = 600
SERVE = """
import sys
from pathlib import Path
from orchestrator.serving import TLS, Release, address_for, serve_sweep
folder, url, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
release = Release.model_validate_json((folder / "release.json").read_text())
tls = TLS(folder / "certificate.pem", folder / "key.pem")
serve_sweep(release, url, address_for(url, "127.0.0.1", port, tls, require_keys=True))
"""
JSON = {"content-type": "application/json"}
DIGITS: dict[str, Any] = {"workload": "digits", "inputs": {"example": 7}}
hostile = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Server:
    """A server process and a client of it."""

    process: subprocess.Popen[str]
    client: httpx.Client
    log: Path
    key: str
    certificate: Path
    store_url: str


@pytest.fixture(scope="module")
def server(
    release: Release, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    url = copied(store, folder / "paretoken.db")
    (folder / "release.json").write_text(release.model_dump_json())
    certificate, port = self_signed(folder), free_port()
    key = KeyFile(keys_file(url)).add("tests", per_minute=1_000_000)
    command = [sys.executable, "-c", SERVE, str(folder), url, str(port)]
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, text=True)
    try:
        wait_for(log, "serving sweep", process)
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            timeout=60,
            verify=ssl.create_default_context(cafile=certificate),
            headers={"authorization": f"Bearer {key}"},
        ) as client:
            yield Server(process, client, log, key, certificate, url)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="module")
def client(server: Server) -> httpx.Client:
    return server.client


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    url = str(server.client.base_url.join("/openapi.json"))
    return schemathesis.openapi.from_url(url, **trusted(server))


def trusted(server: Server) -> dict[str, Any]:
    """What schemathesis passes on with a request."""
    return {
        "headers": {"authorization": f"Bearer {server.key}"},
        "verify": str(server.certificate),
    }


def test_strangers_are_refused(server: Server) -> None:
    url, trust = server.client.base_url, ssl.create_default_context(cafile=server.certificate)
    with httpx.Client(base_url=url, verify=trust) as stranger:
        assert stranger.get("/healthz").status_code == 200
        for path in ("/v1/frontier", "/metrics", "/openapi.json", "/docs", "/v1/models"):
            assert stranger.get(path).status_code == 401
    with pytest.raises(httpx.TransportError):
        httpx.get(str(url.copy_with(scheme="http").join("/healthz")))


def test_it_is_healthy_when_every_model_answers(client, release) -> None:
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "sweep": release.sweep,
        "workloads": ["digits", "recall", "bytes", "pictures"],
        "configurations": len(release.configurations),
        "backbones": 4,
    }


def test_the_frontier_is_shown_with_its_measured_numbers(client, release) -> None:
    whole = client.get("/v1/frontier").json()
    assert [w["workload"] for w in whole["workloads"]] == ["digits", "recall", "bytes", "pictures"]
    (recall,) = client.get("/v1/frontier", params={"workload": "recall"}).json()["workloads"]
    assert recall == whole["workloads"][1]
    assert recall["first_cost"] == "kv"
    shown = {c["configuration"]["trial"]: c for c in recall["configurations"]}
    for configuration in release.workloads[1].configurations:
        entry = shown.pop(configuration.trial)
        assert entry["measured"] == configuration.measured.model_dump()
        assert entry["configuration"]["method"] == configuration.spec.method.id
    assert not shown


def test_every_configuration_answers_as_it_was_measured(client, release, engine) -> None:
    for served in release.workloads:
        for configuration in served.configurations:
            body = {"inputs": {"example": 7}, "configuration": configuration.trial}
            answer = client.post("/v1/predict", json=body)
            assert answer.headers[CONFIGURATION_HEADER] == configuration.trial
            content = answer.json()
            expected = engine.predict(configuration.trial, {"example": 7})
            assert isinstance(expected, Answer)
            assert content["output"] == expected.output
            assert content["workload"] == served.name
            assert content["measured"] == configuration.measured.model_dump()
            assert content["configuration"]["keep_ratio"] == configuration.spec.keep_ratio
            assert content["seconds"] > 0


def test_prompts_of_any_length_at_once_get_the_answers_that_they_get_alone(client, release) -> None:
    points = [f"bytes/{c.trial}" for c in workload(release, "bytes").configurations]
    texts = ["def mean(values):\n    return sum(values)\n" * n + "# " for n in range(1, 9)]
    asked = [
        {"model": point, "prompt": text, "max_tokens": 8 + len(text) % 5}
        for text in texts
        for point in points
    ]

    def ask(body: dict[str, Any]) -> Any:
        answer = client.post("/v1/completions", json=body).json()
        return answer["choices"], answer["usage"], answer["paretoken"]["held"]

    alone = [ask(body) for body in asked]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, asked)) == alone


def test_the_served_caches_hold_what_the_configuration_keeps(client, release) -> None:
    """By the caches' own count, in the process that serves."""
    texts = workload(release, "bytes")
    body = {"prompt": "import os\n" * 20, "max_tokens": 4}
    for configuration in texts.configurations:
        model = f"bytes/{configuration.trial}"
        answer = client.post("/v1/completions", json={"model": model, **body}).json()
        held, cached = answer["paretoken"]["held"], answer["usage"]["prompt_tokens"] - 1
        assert held["tokens_kept"] == pytest.approx(configuration.spec.keep_ratio * cached, abs=1)
        assert held["kv_bytes"] == held["tokens_kept"] * bytes_per_token(configuration)


def test_served_visual_tokens_that_are_cut_enter_no_language_layer(client, release) -> None:
    """A layer's cache holds an entry of every token that entered the layer."""
    messages = shown("digit of red", png(np.zeros((3, 32, 32))))
    for configuration in workload(release, "pictures").configurations:
        body = {"model": f"pictures/{configuration.trial}", "messages": messages}
        held = client.post("/v1/chat/completions", json=body).json()["paretoken"]["held"]
        visual = 64 * configuration.spec.keep_ratio
        assert held["tokens_kept"] == 1 + visual + 2  # start, picture, all but the last word
        assert held["kv_bytes"] == held["tokens_kept"] * bytes_per_token(configuration)


def bytes_per_token(configuration: Configuration) -> int:
    backbone: Any = open_backbone(configuration.spec.backbone)
    config = backbone.model.config.to_dict()
    return int(backbone.kv_bytes_per_token(config, configuration.spec.backbone.dtype))


def test_the_budget_decides_who_answers(client, release) -> None:
    configurations = release.workloads[0].configurations
    for limit in {c.measured.flops for c in configurations}:
        measured = client.post("/v1/predict", json={**DIGITS, "max_cost": limit}).json()["measured"]
        affordable = [c for c in configurations if c.measured.flops <= limit]
        assert measured["flops"] <= limit
        assert measured["quality"] == max(c.quality for c in affordable)
    best = max(c.quality for c in configurations)
    body = {**DIGITS, "min_quality": best}
    assert client.post("/v1/predict", json=body).json()["measured"]["quality"] == best


def test_a_budget_that_nothing_fits_gets_the_nearest(client) -> None:
    body = {**DIGITS, "max_cost": {"flops": 1e-6}}
    refused = client.post("/v1/predict", json=body)
    assert refused.status_code == 422
    assert "nearest possible budget: flops <= 0." in refused.json()["detail"]
    again = {**DIGITS, "max_cost": refused.json()["nearest"]["max_cost"]}
    assert client.post("/v1/predict", json=again).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"workload": "digit"}, 404, "did you mean 'digits'"),
        ({"configuration": "0123"}, 404, "unknown configuration '0123'"),
        ({"workload": None}, 422, "choices: bytes, digits, pictures, recall"),
        ({"workload": "x" * 201}, 422, "workload: "),
        ({"inputs": None}, 422, "inputs: "),
        ({"inputs": {"exmple": 7}}, 422, "exactly one of example, pixel_values"),
        ({"inputs": {"example": 16}}, 422, "from 0 to 15; got 16"),
        ({"inputs": {"example": "7"}}, 422, "from 0 to 15; got '7'"),
        ({"inputs": {"pixel_values": [[[0.5]]]}}, 422, "shape (3, 48, 48)"),
        ({"inputs": {"pixel_values": [[[3e38] * 48] * 48] * 3}}, 422, "overflow"),
        ({"max_cost": 0}, 422, "max_cost: Input should be greater than 0"),
        ({"max_cost": -1}, 422, "max_cost: Input should be greater than 0"),
        ({"max_cost": "0.5"}, 422, "max_cost: Input should be a valid number"),
        ({"max_cost": True}, 422, "max_cost: Input should be a valid number"),
        ({"max_cost": 10**400}, 422, "max_cost: "),
        ({"max_cost": {}}, 422, "max_cost: "),
        ({"max_cost": {"flops": 0}}, 422, "max_cost.flops: Input should be greater than 0"),
        ({"max_cost": {"flop": 1}}, 422, "did you mean 'flops'"),
        ({"max_cost": {"latency": 1}}, 422, "not measured"),
        ({"min_quality": 1.5}, 422, "min_quality: "),
        ({"budget": 1}, 422, "budget: Extra inputs are not permitted"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_requests_are_told_what_is_wrong(client, changes, status, message) -> None:
    refused = client.post("/v1/predict", json={**DIGITS, **changes})
    assert refused.status_code == status, refused.text
    assert message in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"\xff\xfe", 422),
        (b'{"inputs": {"a": ' + b"[" * 500_000, 400),
        (b'{"inputs": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}", 422),
        (b'{"inputs": {"example": ' + b"9" * 5000 + b"}}", 400),
        (b'{"workload": "digits", "inputs": {"example": NaN}}', 422),
        (b'{"workload": "digits", "inputs": {"example": 7}, "max_cost": NaN}', 422),
        (b'{"workload": "digits", "inputs": {"example": 7}, "max_cost": Infinity}', 422),
        (b'{"workload": "digits", "inputs": {"example": 7}, "min_quality": -Infinity}', 422),
        (b'{"workload": "\\ud800", "inputs": {}}', 422),
        (b'{"workload": "digits", "inputs": {"\\ud800": 1}}', 422),
        (b'{"workload": "digits", "inputs": {}, "\\ud800": 1}', 422),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_malformed_bodies_are_refused(client, body, status) -> None:
    refused = client.post("/v1/predict", content=body, headers=JSON)
    assert refused.status_code == status, refused.text
    assert refused.json()["detail"]


def test_a_body_of_unannounced_length_is_limited_too(client) -> None:
    chunks = (b" " * 2**20 for _ in range(MAX_BODY_BYTES // 2**20 + 1))
    refused = client.post("/v1/predict", content=chunks, headers=JSON)
    assert refused.status_code == 413
    assert str(MAX_BODY_BYTES) in refused.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/frontier?workload=digit", 404),
        ("GET", "/v1/frontier?workloads=digits", 422),
        ("GET", "/v1/predict", 405),
        ("GET", "/", 404),
    ],
)
def test_other_mistakes_are_4xx(client, method, path, status) -> None:
    refused = client.request(method, path)
    assert refused.status_code == status
    assert refused.json()["detail"]


@pytest.mark.parametrize(
    ("mode", "method", "path"),
    [
        (GenerationMode.POSITIVE, "GET", "/healthz"),
        (GenerationMode.POSITIVE, "GET", "/v1/frontier"),
        (GenerationMode.NEGATIVE, "GET", "/v1/frontier"),
        (GenerationMode.POSITIVE, "POST", "/v1/predict"),
        (GenerationMode.NEGATIVE, "POST", "/v1/predict"),
        (GenerationMode.POSITIVE, "POST", "/v1/questions"),
        (GenerationMode.NEGATIVE, "POST", "/v1/questions"),
        (GenerationMode.POSITIVE, "GET", "/v1/models"),
        (GenerationMode.POSITIVE, "GET", "/v1/models/{name}"),
        (GenerationMode.POSITIVE, "POST", "/v1/completions"),
        (GenerationMode.NEGATIVE, "POST", "/v1/completions"),
        (GenerationMode.POSITIVE, "POST", "/v1/chat/completions"),
        (GenerationMode.NEGATIVE, "POST", "/v1/chat/completions"),
    ],
)
def test_the_openapi_document_is_kept(server, document, mode, method, path) -> None:
    kept = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]

    @hostile
    @given(document[path][method].as_strategy(generation_mode=mode))
    def keeps(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=kept, **trusted(server))

    keeps()


def test_a_question_has_the_same_answer_as_in_python(client, store, release) -> None:
    question = {"ask": "best", "workload": "digits", "maximum": {"flops": 0.9}}
    answered = client.post("/v1/questions", json=question)
    assert answered.status_code == 200
    expected = ask(store, release.sweep, BestQuestion(workload="digits", maximum={"flops": 0.9}))
    assert answered.json() == {"sweep": release.sweep, "ask": "best", "answers": expected}


@pytest.mark.parametrize(
    ("question", "status", "words"),
    [
        ({"ask": "bst"}, 422, "best"),
        ({"ask": "best", "workload": "digit"}, 404, "did you mean 'digits'"),
        ({"ask": "best", "maximum": {"flop": 1}}, 422, "did you mean 'flops'"),
        ({"ask": "knee", "bootstrap": {"resamples": 9999}}, 422, "at most 5000"),
    ],
)
def test_a_question_without_an_answer_says_why(client, question, status, words) -> None:
    refused = client.post("/v1/questions", json=question)
    assert refused.status_code == status
    assert words in refused.json()["detail"]


def test_the_examples_in_the_openapi_document_work(client) -> None:
    body = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    assert set(examples) == {"digits", "recall", "bytes", "pictures"}
    for example in examples.values():
        assert client.post("/v1/predict", json=example["value"]).status_code == 200


def test_a_killed_replica_fails_no_request(server: Server) -> None:
    def ask(_: int) -> int:
        return server.client.post("/v1/predict", json=DIGITS).status_code

    (before,) = replicas(server.process.pid)
    with ThreadPoolExecutor(4) as threads:
        statuses = threads.map(ask, range(200))
        next(statuses)
        os.kill(before, signal.SIGKILL)
        assert set(statuses) == {200}
    (after,) = replicas(server.process.pid)
    assert after != before


def test_a_stream_outlives_its_replica(server: Server) -> None:
    asked = {"model": "bytes:auto", "prompt": "import os\n\n\ndef ", "max_tokens": 600}
    client = openai.OpenAI(
        base_url=f"{server.client.base_url}/v1",
        api_key=server.key,
        max_retries=0,
        http_client=httpx.Client(verify=ssl.create_default_context(cafile=server.certificate)),
    )
    with client:
        whole = client.completions.create(**asked)
        (before,) = replicas(server.process.pid)
        stream = client.completions.create(**asked, stream=True)
        first = [next(stream).choices[0].text for _ in range(3)]
        os.kill(before, signal.SIGKILL)
        rest = [chunk.choices[0].text for chunk in stream]
    assert "".join(first + rest) == whole.choices[0].text
    assert replicas(server.process.pid) != [before]


def test_releases_that_come_and_go_fail_no_request(server: Server, release: Release) -> None:
    """Six of them, by canary and at once, while four clients keep asking."""
    ledger, over = Ledger(server.store_url), threading.Event()
    numbers = [passed(ledger, each) for each in (release, chosen(release, ["identity@1"]))]
    statuses, seen = Counter[int](), Counter[str]()

    def keep_asking(_: int) -> None:
        while not over.is_set():
            answer = server.client.post("/v1/predict", json=DIGITS)
            statuses[answer.status_code] += 1
            seen[answer.headers[RELEASE_HEADER]] += 1

    def served(number: int) -> bool:
        answer = server.client.post("/v1/predict", json=DIGITS)
        return answer.headers[RELEASE_HEADER] == f"{release.sweep}@{number}"

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(keep_asking, each) for each in range(4)]
        for step in range(6):
            number = numbers[step % 2]
            if step in (2, 5):
                terms = Terms(share=0.5, requests=20, max_slowdown=100)
                take(ledger, release.sweep, number, Step.CANARY, terms)
            else:
                take(ledger, release.sweep, number, Step.ACTIVE)
            wait_until(lambda number=number: served(number) and is_settled(ledger, release))
        take(ledger, release.sweep, numbers[1], Step.ROLLED_BACK)
        wait_until(lambda: served(numbers[0]))
        over.set()
        for each in asking:
            each.result()
    assert set(statuses) == {200}
    assert set(seen) >= {f"{release.sweep}@{number}" for number in numbers}
    ledger.close()


def is_settled(ledger: Ledger, release: Release) -> bool:
    return ledger.line(release.sweep).canary is None


def test_a_replica_that_hangs_is_replaced_and_fails_no_request(server: Server) -> None:
    """Its process is stopped, so that it neither answers nor dies."""
    (before,) = replicas(server.process.pid)
    os.kill(before, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as threads:
        asked = threads.map(
            lambda _: server.client.post("/v1/predict", json=DIGITS, timeout=300), range(4)
        )
        assert {answer.status_code for answer in asked} == {200}
    assert replicas(server.process.pid) != [before]


def test_ctrl_c_ends_it_cleanly(server: Server) -> None:
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    log = server.log.read_text()
    assert "Traceback" not in log
    assert log.splitlines()[-1] == "stopping"


def test_a_taken_port_is_one_clear_error(release) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"cannot serve on .* choose another with --port"):
            serve_sweep(release, "sqlite:///unused.db", Address(port=taken.getsockname()[1]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_strangers_are_let_in_by_key_alone(release, tmp_path, host) -> None:
    url = f"sqlite:///{tmp_path}/paretoken.db"
    with pytest.raises(ValueError, match="paretoken keys add TENANT"):
        serve_sweep(release, url, address_for(url, host, 8000))
    with pytest.raises(ValueError, match="requires API keys"):
        serve_sweep(release, url, Address(host, 8000))


def test_a_proxy_that_listens_everywhere_is_for_clusters(release, monkeypatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(ValueError, match=r"listens on all interfaces .* unset it"):
        serve_sweep(release, "sqlite:///unused.db", Address())


def test_a_certificate_that_is_none_is_one_clear_error(release, tmp_path) -> None:
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_text("none")
    tls = TLS(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with pytest.raises(ValueError, match="are not a certificate and its private key"):
        serve_sweep(release, "sqlite:///unused.db", Address(port=8000, tls=tls))


def test_the_ingress_does_without_torch() -> None:
    program = "import sys, orchestrator.serving; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def free_port() -> int:
    """A free port below those that the system hands out, which Ray's processes take."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for(log: Path, text: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def replicas(root: int) -> list[int]:
    """Process ids of the engine's replicas below a process."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    family = {root}
    for _ in range(4):  # driver, raylet, worker
        family |= {int(pid) for pid, parent, *_ in rows if int(parent) in family}
    name = "ServeReplica:serving-tests:engine"
    return [int(pid) for pid, _, *args in rows if int(pid) in family and name in " ".join(args)]
