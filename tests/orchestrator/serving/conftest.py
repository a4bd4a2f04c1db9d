"""A small sweep that was really planned, measured, stored and released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.measurement.trial import run_trial
from orchestrator.serving.engine import Engine
from orchestrator.serving.release import Release, release_of
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan
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
    (folder / "sweep.yaml").write_text(SWEEP)
    spec = load_sweep(folder / "sweep.yaml")
    planned = plan(spec)
    store = Store(f"sqlite:///{folder}/paretoken.db")
    store.begin_sweep(spec.name, SWEEP, spec.resolved(), planned.trials, [])
    store.record([run_trial(trial.spec) for trial in planned.trials])
    return store


@pytest.fixture(scope="session")
def release(store: Store) -> Release:
    """What a server answers from."""
    return release_of(store, "serving-tests")


@pytest.fixture(scope="session")
def engine(release: Release, one_thread: None) -> Engine:
    """The models of the release, in this process."""
    return Engine(release)
