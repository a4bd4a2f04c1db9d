"""Follows the ledger in a running server: has releases loaded, judges canaries, says who serves.

One of it in a server. It is asked, and told what was seen, by every ingress a few times a second
(:meth:`Conductor.beat`); if it dies, its successor reads all but the tallies from the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from orchestrator.serving.agreement import equal
from orchestrator.serving.judging import verdict
from orchestrator.serving.messages import PROBE, Answer, Refusal
from orchestrator.serving.plan import UNRELEASED, Plan, Served
from orchestrator.serving.shelf import Shelf
from orchestrator.serving.tally import Tally
from store.releases.ledger import LedgerError, Signed
from store.releases.line import Step
from store.releases.release import Release

LOADING_SECONDS: Final = 120.0
"""A release that takes longer to load, or to answer its golden examples, is rolled back, provided
that the models answer otherwise."""
WHO: Final = "paretoken serve"

_LOG = logging.getLogger("paretoken.serving")


class Models(Protocol):
    """The engine, as far as it loads and proves releases."""

    async def hold(self, releases: list[Release]) -> dict[str, str]:
        """Load these and let go of all others; by trial, why one does not answer."""
        ...

    async def predict(self, trial: str, inputs: dict[str, Any]) -> Answer | Refusal:
        """Answer one example."""
        ...


class Conductor:
    """Turns steps of the ledger into plans, and what was seen into steps."""

    def __init__(self, shelf: Shelf, models: Models) -> None:
        self._shelf = shelf
        self._models = models
        self._plan: Plan | None = None
        self._tallies: dict[int, Tally] = {}
        self._following: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._reflecting: asyncio.Task[None] | None = None

    async def beat(self, known: int | None, tallies: Mapping[int, Tally]) -> Plan | None:
        """Take note of what an ingress saw; the plan, if it is another than the one it knows.

        ``known`` is its plan's sequence; without one it waits for the first.
        """
        for number, tally in tallies.items():
            self._tallies.setdefault(number, Tally()).add(tally)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())
        if known is None:
            await asyncio.shield(self._following)
        plan = self._plan
        return plan if plan is not None and plan.sequence != known else None

    async def _follow(self) -> None:
        """One look at the ledger, or else at the canary; whatever goes wrong, the next comes."""
        try:
            if self._plan is None or await self._has_gone_on(self._plan):
                await self._adopt(await asyncio.to_thread(self._shelf.plan))
            else:
                await self._judge(self._plan)
        except LedgerError as error:
            _LOG.info("somebody else was faster: %s", error)
        except Exception:
            _LOG.exception("what is served stays")

    async def _has_gone_on(self, plan: Plan) -> bool:
        ledger = self._shelf.ledger
        return await asyncio.to_thread(ledger.sequence, self._shelf.sweep) != plan.sequence

    async def _adopt(self, plan: Plan) -> None:
        """Load what the plan needs, and make it the plan; or roll back what does not work.

        Where all that gets requests is loaded, as after a rollback, nothing is waited for.
        """
        before = self._plan
        if before is not None and set(plan.numbers) <= set(before.loaded_numbers):
            self._take_over(plan)
            wanted = _needed(plan, before)
            self._loading = asyncio.create_task(self._loaded_later(wanted, self._loading))
            return
        if self._loading is not None:
            await self._loading
        broken = await self._broken(plan, before)
        for number, why in broken.items():
            if before is not None and number in plan.numbers and number != UNRELEASED:
                await self._step(plan, number, Step.ROLLED_BACK, why)
                return  # the next look adopts what that leads to
            _LOG.error("release %s of %s: %s", number, self._shelf.sweep, why)
        self._take_over(plan)

    def _take_over(self, plan: Plan) -> None:
        if self._plan is None or self._plan.canary != plan.canary:
            self._tallies = {}
        self._plan = plan

    async def _loaded_later(
        self, wanted: list[Release], earlier: asyncio.Task[None] | None
    ) -> None:
        try:
            if earlier is not None:
                await earlier
            await self._models.hold(wanted)
        except Exception:
            _LOG.exception("what a rollback would lead to is not loaded")

    async def _broken(self, plan: Plan, before: Plan | None) -> dict[int, str]:
        """What does not work of a plan: number and reason.

        Raises TimeoutError where nothing of it can be blamed: the models do not answer at all.
        """
        try:
            return await asyncio.wait_for(self._problems(plan, before), LOADING_SECONDS)
        except TimeoutError:
            if before is None:
                raise
            trial = before.active.release.configurations[0].trial
            await asyncio.wait_for(self._models.predict(trial, PROBE), LOADING_SECONDS)
            new = [number for number in plan.numbers if number not in before.loaded_numbers]
            return {new[-1]: f"did not load within {LOADING_SECONDS:.0f} s"}

    async def _problems(self, plan: Plan, before: Plan | None) -> dict[int, str]:
        known = () if before is None else before.loaded
        problems = await self._models.hold(_needed(plan, before))
        found = {}
        for served in plan.loaded:
            why = _problem(served, problems)
            if why is None and served not in known and served.number != UNRELEASED:
                why = await self._golden_problem(served)
            if why is not None:
                found[served.number] = why
        return found

    async def _golden_problem(self, served: Served) -> str | None:
        golden = await asyncio.to_thread(self._shelf.golden, served.number)
        for trial, expected in golden.items():
            answer = await self._models.predict(trial, PROBE)
            if isinstance(answer, Refusal):
                return f"{trial} refuses its golden example: {answer.reason}"
            if not equal(answer.output, expected):
                return f"{trial} does not give its golden answer"
        return None

    async def _judge(self, plan: Plan) -> None:
        if plan.canary is None:
            return
        number = plan.canary.served.number
        canary, active = (self._tallies.get(n, Tally()) for n in (number, plan.active.number))
        found = verdict(canary, active, plan.canary.terms)
        if found is not None:
            step = Step.ACTIVE if found.takes_over else Step.ROLLED_BACK
            await self._step(plan, number, step, found.why, found.evidence)

    async def _step(
        self,
        plan: Plan,
        number: int,
        step: Step,
        why: str,
        evidence: Mapping[str, str] | None = None,
    ) -> None:
        signed = Signed(WHO, why)
        await asyncio.to_thread(
            self._shelf.ledger.append,
            self._shelf.sweep,
            number,
            step,
            signed,
            evidence,
            after=plan.sequence,
        )
        _LOG.warning("%s@%s: %s (%s)", self._shelf.sweep, number, step.value, why)
        self._reflecting = asyncio.create_task(asyncio.to_thread(self._shelf.reflect))


def _needed(plan: Plan, before: Plan | None) -> list[Release]:
    """A plan's releases, and those of the one before: requests are on their way to them.

    Ingresses hear of a new plan one after another.
    """
    known = () if before is None else before.loaded
    return list({each.number: each.release for each in (*plan.loaded, *known)}.values())


def _problem(served: Served, problems: Mapping[str, str]) -> str | None:
    broken = (c.trial for c in served.release.configurations if c.trial in problems)
    return next((f"{trial}: {problems[trial]}" for trial in broken), None)
