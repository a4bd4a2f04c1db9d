"""A model behind Ray Serve and nothing else, to compare our server with."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

import torch
from ray import serve
from starlette.requests import Request

from orchestrator.cluster.connection import cluster
from orchestrator.measurement.models import build_task, open_backbone
from sweeps.trial import TrialSpec
from tests.benchmarks.serving_process import free_port


class Bare:
    """The model, and nothing else."""

    def __init__(self, spec: TrialSpec) -> None:
        torch.set_num_threads(1)
        self._task = build_task(spec)
        self._backbone = open_backbone(spec.backbone)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """As `/v1/predict`."""
        inputs = (await request.json())["inputs"]
        with torch.inference_mode():
            return self._task.predict(self._backbone, self._task.batch_of(inputs))[0]


def serve_bare(spec: TrialSpec, port: int, is_up: Event, is_over: Event) -> None:
    """Answer at ``port`` until it is over."""
    with cluster():
        serve.start(http_options={"port": port})
        bare = serve.deployment(Bare, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=32)
        serve.run(bare.bind(spec))
        is_up.set()
        is_over.wait()


@contextmanager
def bare_server(spec: TrialSpec) -> Iterator[str]:
    """The address of the model and nothing else, in a process of its own."""
    processes, port = multiprocessing.get_context("spawn"), free_port()
    is_up, is_over = processes.Event(), processes.Event()
    process = processes.Process(target=serve_bare, args=(spec, port, is_up, is_over))
    process.start()
    try:
        assert is_up.wait(120), "the bare server does not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        is_over.set()
        process.join()
