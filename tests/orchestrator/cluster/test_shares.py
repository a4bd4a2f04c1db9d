"""Sweeps that run at a time share a cluster's workers by priority."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cluster.shares import Claim, Leases, divide

CPUS = [{"CPU": 4.0}, {"CPU": 4.0}]


def claim(driver: str, weight: float = 3, wanted: int = 100, **worker: float) -> Claim:
    return Claim(driver, weight, wanted, **{"cpus": 1.0, "gpus": 0.0, **worker})


@pytest.mark.parametrize(
    ("claims", "shares"),
    [
        ([claim("a")], {"a": 8}),
        ([claim("a", 3), claim("b", 1)], {"a": 6, "b": 2}),
        ([claim("a"), claim("b")], {"a": 4, "b": 4}),
        ([claim("a", 1), claim("b", 100)], {"a": 1, "b": 7}),
        ([claim("a", 3, wanted=2), claim("b", 1)], {"a": 2, "b": 6}),
        ([claim("a", 3, wanted=0), claim("b", 1)], {"a": 0, "b": 8}),
        ([claim("a", cpus=3), claim("b", cpus=0.5)], {"a": 1, "b": 10}),
        ([claim("a", cpus=4), claim("b", cpus=8)], {"a": 2, "b": 0}),
    ],
)
def test_workers_are_dealt_by_weight_and_what_is_not_wanted_is_lent(
    claims: list[Claim], shares: dict[str, int]
) -> None:
    assert divide(claims, CPUS) == shares


def test_where_not_everyone_finds_room_the_heavier_come_first_then_the_earlier() -> None:
    claims = [claim("late", 1), claim("early", 3), claim("other", 3)]
    assert divide(claims, [{"CPU": 2.0}]) == {"late": 0, "early": 1, "other": 1}


def test_work_without_gpus_leaves_their_nodes_to_those_who_need_them() -> None:
    nodes = [{"CPU": 2.0, "GPU": 2.0}, {"CPU": 2.0}]
    claims = [claim("plain", wanted=2), claim("gpus", gpus=0.5)]
    assert divide(claims, nodes) == {"plain": 2, "gpus": 2}


@given(
    st.lists(
        st.builds(
            Claim,
            driver=st.uuids().map(str),
            weight=st.integers(1, 100),
            wanted=st.integers(0, 12),
            cpus=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
            gpus=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
        ),
        max_size=5,
    ),
    st.lists(
        st.fixed_dictionaries({"CPU": st.integers(0, 6), "GPU": st.integers(0, 2)}), max_size=4
    ),
)
@settings(max_examples=150, deadline=None)
def test_no_division_gives_more_than_there_is_or_leaves_idle_what_someone_wants(
    claims: list[Claim], nodes: list[dict[str, float]]
) -> None:
    dealt = divide(claims, nodes)
    assert dealt.keys() == {each.driver for each in claims}
    assert all(0 <= dealt[each.driver] <= each.wanted for each in claims)
    for name, amount in (("CPU", "cpus"), ("GPU", "gpus")):
        used = sum(dealt[each.driver] * getattr(each, amount) for each in claims)
        assert used <= sum(node[name] for node in nodes) + 1e-9
    if len(claims) == 1:
        [only] = claims
        assert dealt[only.driver] == min(only.wanted, sum(map(only.resources.room, nodes)))
    assert divide(claims, nodes) == dealt


def test_a_driver_that_falls_silent_loses_its_lease_and_one_that_speaks_keeps_its_turn() -> None:
    leases = Leases(seconds=10)
    leases.renew(claim("first"), now=0)
    leases.renew(claim("second"), now=5)
    leases.renew(claim("first", wanted=7), now=9)
    assert [(each.driver, each.wanted) for each in leases.claims] == [("first", 7), ("second", 100)]
    leases.renew(claim("first"), now=16)
    assert [each.driver for each in leases.claims] == ["first"]
    leases.release("first")
    leases.release("never came")
    assert leases.claims == []
