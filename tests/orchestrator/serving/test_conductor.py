"""A server follows its ledger with real models, and turns back what does not work."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.pyfunc import load_model
from pandas import DataFrame

from orchestrator.releases.freezing import chosen
from orchestrator.releases.gate import Check, Gate
from orchestrator.releases.rollout import GateError, Office, signed
from orchestrator.serving.conductor import Conductor
from orchestrator.serving.following import FollowingEngine
from orchestrator.serving.messages import Answer, Refusal
from orchestrator.serving.plan import UNRELEASED, Plan
from orchestrator.serving.shelf import Shelf
from orchestrator.serving.tally import Tally
from store.releases.ledger import Ledger
from store.releases.line import Step, Terms
from store.releases.release import Release
from store.repository import Store
from tests.orchestrator.serving.rollouts import copied, passed, take
from tests.orchestrator.serving.texts import workload

SWEEP = "serving-tests"
GOOD = Tally(requests=50, seconds=[0.01] * 50)


class Models:
    """A following engine without Ray before it."""

    def __init__(self, engine: FollowingEngine) -> None:
        self._engine = engine
        self.held: list[list[Release]] = []

    async def hold(self, releases: list[Release]) -> dict[str, str]:
        problems = await self._engine.hold(releases)
        self.held.append(releases)
        return problems

    async def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        return await asyncio.to_thread(self._engine.predict, trial, inputs)


class Server:
    """What follows a ledger, with one ingress that only beats."""

    def __init__(self, url: str, unreleased: Release) -> None:
        self.ledger = Ledger(url)
        self.shelf = Shelf(url, unreleased)
        self.engine = FollowingEngine(self.shelf)
        self.models = Models(self.engine)
        self.conductor = Conductor(self.shelf, self.models)
        self.plan: Plan | None = None

    async def follows(self, sequence: int, tallies: dict[int, Tally] | None = None) -> Plan:
        async with asyncio.timeout(60):
            while self.plan is None or self.plan.sequence < sequence:
                known = None if self.plan is None else self.plan.sequence
                self.plan = await self.conductor.beat(known, tallies or {}) or self.plan
                tallies = None
                await asyncio.sleep(0.02)
        return self.plan

    async def holds(self, number: int) -> list[Release]:
        """What the models were told to hold at the n-th time."""
        async with asyncio.timeout(60):
            while len(self.models.held) <= number:
                await asyncio.sleep(0.02)
        return self.models.held[number]

    def released(self, release: Release, golden: dict[str, Any] | None = None) -> int:
        return passed(self.ledger, release, golden)

    def takes(self, number: int, step: Step, terms: Terms | None = None) -> int:
        return take(self.ledger, SWEEP, number, step, terms)


@pytest.fixture
def small(release: Release) -> Release:
    """The language model's points."""
    return release.model_copy(update={"workloads": (workload(release, "bytes"),)})


@pytest.fixture
def server(small: Release, tmp_path: Path, one_thread: None) -> Iterator[Server]:
    server = Server(f"sqlite:///{tmp_path}/ledger.db", small)
    yield server
    server.ledger.close()


def test_it_goes_forward_and_back_with_the_ledger(server: Server, small: Release) -> None:
    async def scenario() -> None:
        assert (await server.follows(0)).active.number == UNRELEASED
        whole, part = (
            server.released(small),
            server.released(chosen(small, ["identity@1"])),
        )
        first = await server.follows(server.takes(whole, Step.ACTIVE))
        assert (first.active.number, first.active.exact) == (whole, ("digits",))
        second = await server.follows(server.takes(part, Step.ACTIVE))
        assert second.previous == first.active
        (kept,) = second.active.release.configurations
        dropped = next(c for c in small.configurations if c != kept)
        # the previous release is loaded still, and needs nothing but its name
        assert isinstance(server.engine.predict(dropped.trial, {"example": 1}), Answer)
        back = await server.follows(server.takes(part, Step.ROLLED_BACK))
        assert back.active == first.active
        assert (await server.follows(server.takes(whole, Step.ROLLED_BACK))).active.number == 0

    asyncio.run(scenario())


def test_what_a_plan_leaves_is_held_until_the_one_after(server: Server, small: Release) -> None:
    """An ingress that has not heard of a rollback yet sends requests to what was rolled back."""

    async def scenario() -> None:
        one, other = (chosen(small, [point]) for point in ("identity@1", "knorm@0.25"))
        first, second = server.released(one), server.released(other)
        await server.follows(server.takes(first, Step.ACTIVE))
        await server.follows(server.takes(second, Step.ACTIVE))
        count = len(server.models.held)
        back = await server.follows(server.takes(second, Step.ROLLED_BACK))
        assert second not in back.loaded_numbers
        held = await server.holds(count)
        assert one in held
        assert other in held
        await server.follows(server.takes(first, Step.ROLLED_BACK))
        assert other not in await server.holds(count + 1)

    asyncio.run(scenario())


def test_what_this_replica_was_not_told_of_is_looked_up_and_used(
    release: Release, small: Release, tmp_path: Path, one_thread: None
) -> None:
    """Each configuration is newest in another release: to look for one lets go of the other."""
    recall = release.model_copy(update={"workloads": (workload(release, "recall"),)})
    server = Server(f"sqlite:///{tmp_path}/ledger.db", recall)
    for points in ([], ["identity@1"], ["knorm@0.25"]):
        server.released(chosen(small, points))
    trials = [c.trial for c in small.configurations]
    assert len(trials) == 2
    assert set(server.engine.text_cards(trials)) == set(trials)
    for trial in trials:
        assert isinstance(server.engine.predict(trial, {"example": 1}), Answer)
    server.ledger.close()


def test_a_frontier_that_gave_way_to_a_release_can_still_be_asked(
    server: Server, small: Release
) -> None:
    """By an ingress that has not heard of the release, of a replica that started after it."""
    server.takes(server.released(chosen(small, ["identity@1"])), Step.ACTIVE)
    again = FollowingEngine(server.shelf)
    for configuration in small.configurations:
        assert isinstance(again.predict(configuration.trial, {"example": 1}), Answer)


def test_a_canary_takes_over_or_goes_by_what_was_seen(server: Server, small: Release) -> None:
    async def scenario() -> None:
        first, second = server.released(small), server.released(chosen(small, ["identity@1"]))
        await server.follows(server.takes(first, Step.ACTIVE))
        for seen, step in (
            (Tally(requests=3, errors=3), Step.ROLLED_BACK),
            (GOOD, Step.ACTIVE),
        ):
            terms = Terms(share=0.2, requests=50)
            sequence = server.takes(second, Step.CANARY, terms)
            plan = await server.follows(sequence)
            assert plan.canary is not None
            assert plan.shares[0][1] == pytest.approx(0.8)
            await server.follows(sequence + 1, {second: seen, first: GOOD})
            entry = server.ledger.entries(SWEEP)[-1]
            assert (entry.step, entry.who) == (step, "paretoken serve")
            assert "errors" in entry.evidence
        assert server.plan is not None
        assert server.plan.active.number == second

    asyncio.run(scenario())


def test_a_release_that_does_not_work_here_is_rolled_back(server: Server, small: Release) -> None:
    """Weights that are not there, and answers that are not those of the gate."""

    async def scenario() -> None:
        good = server.released(small)
        await server.follows(server.takes(good, Step.ACTIVE))
        gone = small.model_dump(mode="json")
        for configuration in gone["workloads"][0]["configurations"]:
            configuration["spec"]["backbone"] |= {"path": "/nowhere", "fingerprint": "0" * 16}
            configuration["trial"] += "0"
        trial = small.configurations[0].trial
        broken = (
            (server.released(Release.model_validate(gone)), "weights"),
            (server.released(chosen(small, [trial]), {trial: {"bits_per_byte": 99.0}}), "golden"),
        )
        for number, words in broken:
            sequence = server.takes(number, Step.ACTIVE)
            plan = await server.follows(sequence + 1)
            assert plan.active.number == good
            entry = server.ledger.entries(SWEEP)[-1]
            assert (entry.step, entry.number) == (Step.ROLLED_BACK, number)
            assert words in entry.why

    asyncio.run(scenario())


def test_a_server_that_starts_anew_serves_what_was_served(server: Server, small: Release) -> None:
    number = server.released(chosen(small, ["identity@1"]))
    sequence = server.takes(number, Step.ACTIVE)
    again = Server(server.shelf.ledger._database.url, small)
    plan = asyncio.run(again.follows(sequence))
    assert plan.active.number == number
    again.ledger.close()


def test_what_is_served_stays_while_the_ledger_is_away(server: Server, small: Release) -> None:
    async def scenario() -> None:
        sequence = server.takes(server.released(small), Step.ACTIVE)
        await server.follows(sequence)
        database = server.shelf.ledger._database.file
        assert database is not None
        server.shelf.ledger.close()
        content = database.read_bytes()
        database.write_bytes(b"no database" * 100)
        for _ in range(3):
            assert await server.conductor.beat(sequence, {}) is None
            await asyncio.sleep(0.1)
        database.write_bytes(content)

    asyncio.run(scenario())


@pytest.fixture
def own(store: Store, tmp_path: Path) -> Path:
    """The measured store as a file of one's own."""
    copied(store, tmp_path / "copied.db")
    return tmp_path / "copied.db"


@contextmanager
def office_of(file: Path) -> Iterator[Office]:
    ledger = Ledger(f"sqlite:///{file}")
    with Store(f"sqlite:///{file}") as store:
        yield Office(store, ledger)
    ledger.close()


def test_a_release_passes_its_gate_and_is_in_the_registry(own: Path, release: Release) -> None:
    said: list[str] = []
    point = workload(release, "recall").configurations[0].trial
    with office_of(own) as office:
        frozen = office.release(SWEEP, [point], signed("a test"), said.append)
        office.roll_out(SWEEP, frozen.number, Terms(), signed("first: nothing to compare with"))
        office.reflect(SWEEP)
        assert office.ledger.line(SWEEP).active == frozen.number
    assert any("8 of 8 outcomes as measured, 4 of 4 answers" in line for line in said)
    version = MlflowClient(f"sqlite:///{own}").get_model_version_by_alias(
        f"paretoken-{SWEEP}", "champion"
    )
    assert version.tags["digest"] == frozen.digest
    model = load_model(version.source)
    (answer,) = model.predict(DataFrame({"example": [3]}), params={"workload": "recall"})
    assert answer.keys() == {"tokens"}


def test_every_configuration_of_a_frontier_passes_the_gate(store: Store, release: Release) -> None:
    checks = list(Gate(release, store).checks())
    assert not [check for check in checks if not check.passed]
    count = len(release.configurations)
    assert sum(check.subject == "golden" for check in checks) == count


def test_numbers_that_somebody_changed_do_not_pass(own: Path, release: Release) -> None:
    """The stored outcomes of one point are another point's."""
    one, other = (c.trial for c in workload(release, "bytes").configurations)
    with closing(sqlite3.connect(own)) as connection, connection:
        connection.execute(
            "UPDATE paretoken_outcomes SET parquet = "
            "(SELECT parquet FROM paretoken_outcomes WHERE trial_id = ?) WHERE trial_id = ?",
            (one, other),
        )
    with office_of(own) as office:
        with pytest.raises(GateError, match=rf"golden bytes/{other} 0 of 8 outcomes as measured"):
            office.release(SWEEP, [other, one], signed(""), lambda _: None)
        entry = office.ledger.entries(SWEEP)[-1]
        assert entry.step is Step.FAILED
        with pytest.raises(ValueError, match="has not passed its gate"):
            office.roll_out(SWEEP, entry.number, None, signed(""))


def test_a_point_that_is_not_on_the_frontier_is_refused_with_the_nearest(release: Release) -> None:
    with pytest.raises(ValueError, match="did you mean 'identity@1'"):
        chosen(release, ["identty@1"])


def test_a_point_is_named_as_the_tables_show_it(release: Release) -> None:
    def trials(*names: str) -> list[str]:
        return [each.trial for each in chosen(release, names).configurations]

    assert trials("identity@1x") == trials("identity@1.0") == trials("identity@1") != []


def test_evidence_holds_what_was_found() -> None:
    check = Check("latency", False, "slower", "digits/abc", {"taken": [(1.0, 2.0)]})
    assert check.as_evidence["passed"] is False
    assert str(check) == "latency digits/abc slower"
