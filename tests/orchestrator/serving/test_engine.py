"""What is served is what was measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from methods import registry
from orchestrator.measurement.models import build_method, build_task, open_backbone
from orchestrator.serving.engine import Engine
from orchestrator.serving.messages import Answer, Refusal
from store.releases.release import Release
from sweeps.data import contexts
from sweeps.trial import Named, TrialSpec
from tests.orchestrator.serving.texts import workload


def directly(spec: TrialSpec, example: int) -> dict[str, object]:
    """The same trial on one example, without the engine."""
    task = build_task(spec)
    backbone = open_backbone(spec.backbone)
    with backbone.compressed(build_method(spec), spec.schedule, spec.keep_ratio, spec.seed):
        return task.predict(backbone, task.batch_of({"example": example}))[0]


def specs(release: Release) -> list[TrialSpec]:
    return [c.spec for c in release.configurations]


def output(answer: Answer | Refusal) -> dict[str, object]:
    assert isinstance(answer, Answer), answer
    return answer.output


def test_served_equals_measured_bit_for_bit(engine, release) -> None:
    for spec in specs(release):
        for example in (0, 7):
            served = output(engine.predict(spec.id, {"example": example}))
            assert served == directly(spec, example)


def test_configurations_change_answers(engine, release) -> None:
    digits = [c.trial for c in release.workloads[0].configurations]
    assert len(digits) > 1
    answers = [output(engine.predict(trial, {"example": 3})) for trial in digits]
    assert len({str(answer) for answer in answers}) == len(digits)


def test_weights_are_in_memory_once(engine, release) -> None:
    weights = {(spec.backbone.fingerprint, spec.backbone.dtype) for spec in specs(release)}
    assert engine.num_backbones == len(weights) == 4
    assert len(specs(release)) > len(weights)
    assert engine.probe() == 4


def test_threads_do_not_see_each_other(engine, release) -> None:
    calls = [(spec.id, {"example": n}) for spec in specs(release) for n in range(4)] * 3
    alone = [output(engine.predict(*call)) for call in calls]
    with ThreadPoolExecutor(8) as threads:
        together = [output(a) for a in threads.map(lambda call: engine.predict(*call), calls)]
    for batched, single in zip(together, alone, strict=True):
        assert_same(batched, single)


def assert_same(batched: dict[str, Any], single: dict[str, Any]) -> None:
    """What is discrete is equal; kernels for more rows round floats in another order."""
    assert batched.keys() == single.keys()
    for name, value in single.items():
        is_float = name in ("probabilities", "bits_per_byte")
        assert batched[name] == (pytest.approx(value, abs=1e-6) if is_float else value)


def test_examples_that_wait_share_one_pass_and_keep_their_answers(engine, release) -> None:
    """Those of one shape and configuration; a method that draws answers one by one."""
    for configuration in release.configurations:
        if configuration.spec.task.id not in ("digits", "vqa"):
            continue
        trial, variant = configuration.trial, engine._variants[configuration.trial]
        alone = [engine.predict(trial, {"example": n}) for n in range(5)]
        with passes(variant.loaded.backbone.model) as sizes, ThreadPoolExecutor(5) as threads:
            with variant.loaded.turn:
                asked = [threads.submit(engine.predict, trial, {"example": n}) for n in range(5)]
                while len(variant.loaded.gathering._waiting) < 5:
                    time.sleep(0.001)
            batched = [future.result() for future in asked]
        assert set(sizes) == ({1} if configuration.spec.method.id == "random" else {5})
        for together, single in zip(batched, alone, strict=True):
            assert_same(output(together), output(single))
            assert together.tokens_kept == single.tokens_kept


@contextmanager
def passes(model: Any) -> Iterator[list[int]]:
    """Examples in each forward pass inside."""
    seen: list[int] = []
    tower = model.vit if hasattr(model, "vit") else model.model.vision_tower

    def note(_: object, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        pixels = inputs[0] if inputs else named["pixel_values"]
        seen.append(len(pixels))

    handle = tower.register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    handle.remove()


def test_visual_tokens_that_are_cut_never_reach_the_language_model(engine, release) -> None:
    for configuration in workload(release, "pictures").configurations:
        model = engine._variants[configuration.trial].loaded.backbone.model
        lengths: list[int] = []

        def note(_: object, inputs: tuple[Any, ...], lengths: list[int] = lengths) -> None:
            lengths.append(inputs[0].shape[1])

        layers = model.model.language_model.layers
        handles = [layer.register_forward_pre_hook(note) for layer in layers]
        output(engine.predict(configuration.trial, {"example": 0}))
        for handle in handles:
            handle.remove()
        visual = 64 * configuration.spec.keep_ratio
        assert set(lengths) == {1 + visual + 3, 1}  # start, picture, question; its last word again


@pytest.mark.parametrize(
    ("workload", "inputs", "message"),
    [
        ("digits", {}, "exactly one of"),
        ("digits", {"example": 16}, "from 0 to 15"),
        ("digits", {"example": True}, "must be an integer"),
        ("digits", {"pixel_values": [[1.0]]}, "shape"),
        ("digits", {"pixel_values": [[[float("nan")] * 48] * 48] * 3}, "finite"),
        ("digits", {"pixel_values": [[[3e38] * 48] * 48] * 3}, "overflow"),
        ("recall", {"input_ids": [0] * 100_000}, "3 to 258"),
        ("recall", {"input_ids": [10**400, 2, 4]}, "integers from 0"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_inputs_without_an_answer_are_refused(engine, release, workload, inputs, message) -> None:
    (served,) = (w for w in release.workloads if w.name == workload)
    answer = engine.predict(served.configurations[0].trial, inputs)
    assert isinstance(answer, Refusal)
    assert message in answer.reason


def test_no_cache_method_fails_on_a_short_prompt(release, one_thread) -> None:
    """Trials never see prompts this short, callers may send them."""
    recall = release.workloads[1]
    ids = [e.id for e in registry.entries().values() if "kv" in e.places]
    variants = [_with_method(recall.configurations[0], method) for method in ids]
    workload = recall.model_copy(update={"configurations": tuple(variants)})
    engine = Engine(release.model_copy(update={"workloads": (workload,)}))
    question = [contexts.QUESTION, contexts.FIRST_KEY]
    for length in (1, 2, 3, 5):
        for variant in variants:
            inputs = {"input_ids": [contexts.START] * length + question}
            assert isinstance(engine.predict(variant.trial, inputs), Answer | Refusal)


def _with_method(configuration, method_id):
    method = registry.build(method_id, {})
    named = Named(id=method_id, version=method.version, params=method.model_dump(mode="json"))
    keep_ratio = 1.0 if method_id == "identity" else 0.3
    spec = configuration.spec.model_copy(update={"method": named, "keep_ratio": keep_ratio})
    spec = TrialSpec.model_validate(spec.model_dump())
    return configuration.model_copy(update={"spec": spec, "trial": spec.id})


def test_a_model_that_does_not_answer_is_unwell(release, one_thread) -> None:
    engine = Engine(release)
    engine.check_health()
    model = next(iter(engine._loaded.values())).backbone.model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    for loaded in engine._loaded.values():
        loaded._answered_at = float("-inf")
    with pytest.raises(RuntimeError, match="overflow"):
        engine.check_health()
