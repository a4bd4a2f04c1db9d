"""What every method promises, whoever wrote it: a new file in the registry is covered as it is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, reject, settings
from pydantic import ValidationError
from torch import Tensor

from methods.base import InfeasibleError, TokenMethod
from methods.contexts import TokenContext
from methods.places import Place
from methods.registry import MethodEntry, entries
from methods.transform import TokenTransform
from tests.methods.contexts import BUILDERS, Shape, reseeded, shapes, single, tensors

KEEPS_EVERYTHING = {"identity"}
quick = settings(derandomize=True, max_examples=20, deadline=None, database=None)

ready = [entry for entry in entries().values() if entry.stands_alone]
every_method = pytest.mark.parametrize("entry", ready, ids=lambda entry: entry.id)
compressing = [
    pytest.param(entry, place, id=f"{entry.id}-{place}")
    for entry in entries().values()
    for place in entry.places
    if issubclass(entry.method, TokenMethod) and place in BUILDERS
    if entry.id not in KEEPS_EVERYTHING
]
every_compression = pytest.mark.parametrize(("entry", "place"), compressing)


def transformed(entry: MethodEntry, ctx: TokenContext) -> TokenTransform:
    try:
        return entry.method().transform(ctx)
    except InfeasibleError:
        # For example attention inside the language model, wanted at its doorstep.
        reject()


@every_compression
@quick
@given(shape=shapes())
def test_w_meets_the_budget_with_convex_rows_over_existing_tokens(
    entry: MethodEntry, place: Place, shape: Shape
) -> None:
    w = transformed(entry, BUILDERS[place](shape))

    assert (w.num_in, w.num_out) == (shape.num_in, shape.num_keep)
    assert w.rows.shape == w.cols.shape == w.weights.shape
    assert w.rows.shape[0] == shape.batch
    assert w.rows.dtype == w.cols.dtype == torch.long
    assert w.rows.min() >= 0
    assert w.rows.max() < shape.num_keep
    assert w.cols.min() >= 0
    assert w.cols.max() < shape.num_in
    assert w.weights.isfinite().all()
    assert w.weights.min() >= 0
    dense_BKN = w.dense()
    torch.testing.assert_close(dense_BKN.sum(2), torch.ones(shape.batch, shape.num_keep))
    assert (dense_BKN > 0).any(2).all(), "an output token is made of nothing"


@every_compression
@quick
@given(shape=shapes())
def test_pruned_tokens_keep_their_order(entry: MethodEntry, place: Place, shape: Shape) -> None:
    w = transformed(entry, BUILDERS[place](shape))
    if not w.merges:
        kept_BK = w.dense().argmax(2)
        assert (kept_BK.diff(dim=1) > 0).all()


@every_compression
@quick
@given(shape=shapes())
def test_the_context_is_only_read(entry: MethodEntry, place: Place, shape: Shape) -> None:
    ctx = BUILDERS[place](shape)
    before = {name: tensor.clone() for name, tensor in tensors(ctx).items()}
    transformed(entry, ctx)
    for name, tensor in tensors(ctx).items():
        assert torch.equal(tensor, before[name]), name


@every_compression
@quick
@given(shape=shapes())
def test_equal_seeds_give_equal_bits_whatever_the_global_seed(
    entry: MethodEntry, place: Place, shape: Shape
) -> None:
    ctx = BUILDERS[place](shape)
    torch.manual_seed(0)
    first = transformed(entry, reseeded(ctx, 7))
    torch.manual_seed(1)
    assert same_bits(transformed(entry, reseeded(ctx, 7)), first)


@every_compression
def test_an_example_is_compressed_in_a_batch_as_it_is_alone(
    entry: MethodEntry, place: Place
) -> None:
    """Methods that draw are excused: a draw may depend on the place in the batch."""
    for num_keep in (1, 4, 9, 16):
        ctx = BUILDERS[place](Shape(num_in=17, num_keep=num_keep, batch=3))
        batched = transformed(entry, reseeded(ctx, 7))
        if not same_bits(batched, transformed(entry, reseeded(ctx, 8))):
            pytest.skip(f"{entry.id} draws at random")
        alone = [transformed(entry, single(ctx, index, seed=7)) for index in range(3)]
        torch.testing.assert_close(batched.dense(), torch.cat([w.dense() for w in alone]))


@every_method
def test_hyperparameters_survive_json(entry: MethodEntry) -> None:
    method = entry.method()
    assert entry.method.model_validate_json(method.model_dump_json()) == method


@every_method
def test_hyperparameters_are_described_typed_and_closed(entry: MethodEntry) -> None:
    for name, hyperparameter in entry.method.model_json_schema().get("properties", {}).items():
        assert hyperparameter.get("description"), f"{entry.id}.{name} says nothing about itself"
    with pytest.raises(ValidationError, match="no_such_hyperparameter"):
        entry.method(no_such_hyperparameter=1)


@every_method
def test_methods_say_where_they_come_from(entry: MethodEntry) -> None:
    card = sys.modules[entry.method.__module__].__doc__
    assert card
    if entry.method.paper is None:
        assert entry.family == "controls" or "no paper" in card.lower()
    elif entry.method.paper.arxiv:
        assert f"arXiv:{entry.method.paper.arxiv}" in card


def test_another_process_computes_the_same_bits() -> None:
    script = (
        "import json; from tests.methods.test_contract import digests; print(json.dumps(digests()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123", "OMP_NUM_THREADS": "1"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = digests()
    finally:
        torch.set_num_threads(threads)
    there = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(there.stdout) == here


def digests() -> dict[str, str]:
    """A fingerprint of every method's W on fixed contexts, by method and place."""
    found = {}
    for entry, place in (parameter.values for parameter in compressing):
        digest = hashlib.sha256()
        for num_in, num_keep in ((16, 5), (37, 30)):
            w = transformed(entry, BUILDERS[place](Shape(num_in=num_in, num_keep=num_keep)))
            for tensor in (w.rows, w.cols, w.weights):
                digest.update(tensor.contiguous().numpy().tobytes())
        found[f"{entry.id}@{place}"] = digest.hexdigest()
    return found


def same_bits(a: TokenTransform, b: TokenTransform) -> bool:
    pairs: list[tuple[Tensor, Tensor]] = [
        (a.rows, b.rows),
        (a.cols, b.cols),
        (a.weights, b.weights),
    ]
    return all(torch.equal(x, y) for x, y in pairs)


def test_every_place_has_methods_of_its_own() -> None:
    families = {entry.family for entry in entries().values()}
    assert families >= set(BUILDERS)
