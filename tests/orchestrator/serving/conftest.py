"""A small sweep that was really planned, measured, stored and released."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from starlette.applications import Starlette

from orchestrator.keys import KeyFile
from orchestrator.serving.analyst import Analyst
from orchestrator.serving.engine import Engine
from orchestrator.serving.front import build_front
from orchestrator.serving.http import build_http
from orchestrator.serving.messages import (
    Answer,
    AsyncAnalyst,
    AsyncEngine,
    Continuation,
    Event,
    Refusal,
    TextCard,
)
from orchestrator.serving.plan import UNRELEASED, Plan, Served
from store.releases.release import Release, release_of
from store.repository import Store
from tests.measured import measured_store
from tests.models import save_vit

# The untrained model is no better with more tokens; the third objective keeps every ratio.
SWEEP = """
name: serving-tests
measure: {latency_pairs: 0, latency_batch: 2}
keep: [1.0, 0.5, 0.25]
workloads:
  digits:
    task: {id: digits, num_examples: 16, batch_size: 16}
    backbone: {hf: vit}
    methods: [identity, tome, random]
    objectives: {quality: maximize, flops: minimize, tokens: maximize}
  recall:
    task: {id: recall, num_examples: 8, batch_size: 8}
    backbone: llama-recall
    methods: [identity, snapkv, recent-window]
  bytes:
    task: {id: text, num_examples: 8, batch_size: 8, context_length: 64}
    backbone: llama-text
    methods: [identity, knorm]
    keep: [1.0, 0.25]
  pictures:
    task: {id: vqa, num_examples: 8, batch_size: 8}
    backbone: llava-scenes
    methods: [identity, divprune]
    keep: [1.0, 0.25]
    objectives: {quality: maximize, flops: minimize}
"""


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Bits are equal for equal thread counts only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Store:
    """A store with the results of every trial of the sweep."""
    folder: Path = tmp_path_factory.mktemp("serving")
    save_vit(  # 48x48 scenes and ten classes
        folder / "vit",
        image_size=48,
        patch_size=8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_labels=10,
    )
    return measured_store(folder, SWEEP)


@pytest.fixture(scope="session")
def release(store: Store) -> Release:
    """What a server answers from."""
    return release_of(store, "serving-tests")


@pytest.fixture(scope="session")
def engine(release: Release, one_thread: None) -> Engine:
    """The models of the release, in this process."""
    return Engine(release)


class InProcess:
    """The engine without Ray between it and the HTTP side."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        return self._engine.predict(trial, inputs)

    async def probe(self) -> int:
        return self._engine.probe()

    async def text_cards(self, trials: Sequence[str]) -> dict[str, TextCard]:
        return self._engine.text_cards(trials)

    def complete(self, trial: str, continuation: Continuation) -> AsyncIterator[Event]:
        return self._engine.complete(trial, continuation)


def alone(
    release: Release, engine: AsyncEngine, analyst: AsyncAnalyst, keys: Path | None = None
) -> Starlette:
    """The HTTP side of one release that nobody replaces."""
    plan = Plan(0, Served(UNRELEASED, release))

    async def beat(known: int | None, _: object) -> Plan | None:
        return plan if known is None else None

    return build_front(lambda each: build_http(each.release, engine, analyst), beat, keys)


@contextmanager
def running(api: Any) -> Iterator[str]:
    """An application on a real socket, in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def local_url(release: Release, store: Store, engine: Engine) -> Iterator[str]:
    """The HTTP side without Ray."""
    analyst: Any = Analyst(store.url, release.sweep)
    with running(alone(release, InProcess(engine), analyst)) as url:
        yield url


@pytest.fixture(scope="session")
def guarded(
    release: Release, store: Store, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, KeyFile]]:
    """The same behind keys, and their file."""
    file = tmp_path_factory.mktemp("guarded") / "api-keys.json"
    analyst: Any = Analyst(store.url, release.sweep)
    with running(alone(release, InProcess(engine), analyst, file)) as url:
        yield url, KeyFile(file)
