"""The steps that people take: release, roll out, roll back."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.releases.freezing import freeze
from store.releases.ledger import Frozen, Ledger, LedgerError, Signed
from store.releases.line import Entry, Step, Terms
from store.repository import Store


class GateError(ValueError):
    """A release that is not what was measured; the message says what differs."""


@dataclass(frozen=True)
class Office:
    """Where releases of one store are made."""

    store: Store
    ledger: Ledger

    def release(
        self, sweep: str, points: Sequence[str], signed: Signed, tell: Callable[[str], None]
    ) -> Frozen:
        """Freeze, run the gate, register. ``tell`` hears of every check.

        Raises ValueError for what cannot be frozen, GateError where the gate is not passed; either
        is in the ledger by then.
        """
        frozen, new = freeze(self.store, self.ledger, sweep, points, signed)
        tell(f"{frozen.name} " + ("frozen" if new else "was frozen before with the same content"))
        self._gate(frozen, signed, tell)
        self._register(frozen, signed)
        tell(f"{frozen.name} passed its gate; send it traffic: paretoken rollout {frozen.name}")
        return frozen

    def roll_out(self, sweep: str, number: int, terms: Terms | None, signed: Signed) -> Entry:
        """A share of the traffic by ``terms``, or all of it at once. Raises LedgerError."""
        line = self.ledger.line(sweep)
        if terms is None or line.active is None:
            return self.ledger.append(sweep, number, Step.ACTIVE, signed, after=line.sequence)
        evidence = {"terms": terms.model_dump()}
        return self.ledger.append(sweep, number, Step.CANARY, signed, evidence, after=line.sequence)

    def roll_back(self, sweep: str, signed: Signed) -> Entry:
        """End the canary, or without one go back to the release before. Raises LedgerError."""
        line = self.ledger.line(sweep)
        number = line.active if line.canary is None else line.canary.number
        if number is None:
            raise LedgerError(f"sweep {sweep!r} has no release that is served")
        return self.ledger.append(sweep, number, Step.ROLLED_BACK, signed, after=line.sequence)

    def reflect(self, sweep: str) -> None:
        """Let the registry of MLflow show what the ledger says; it may take seconds."""
        from store.mirror.registry import Registry

        Registry(self.store.url).reflect(sweep, self.ledger.line(sweep))

    def named(self, name: str) -> tuple[str, int]:
        """Sweep and number from ``SWEEP@NUMBER``, or the newest release of ``SWEEP``.

        Raises ValueError for a name without a release.
        """
        sweep, at, number = name.rpartition("@")
        if at and number.isdigit():
            return sweep, self.ledger.release(sweep, int(number)).number
        newest = self.ledger.newest(name)
        if newest is None:
            raise ValueError(f"sweep {name!r} has no release; make one: paretoken release {name}")
        return name, newest

    def _gate(self, frozen: Frozen, signed: Signed, tell: Callable[[str], None]) -> None:
        from orchestrator.releases.gate import Gate  # takes torch

        gate, checks = Gate(frozen.release, self.store), []
        for check in gate.checks():
            checks.append(check)
            tell(f"  {'ok  ' if check.passed else 'FAIL'} {check}")
        evidence: dict[str, Any] = {"checks": [check.as_evidence for check in checks]}
        failed = [check for check in checks if not check.passed]
        if failed:
            self.ledger.append(frozen.sweep, frozen.number, Step.FAILED, signed, evidence)
            raise GateError(f"{frozen.name} did not pass its gate: {failed[0]}")
        evidence |= {"exact": gate.exact(), "golden": gate.golden()}
        self.ledger.append(frozen.sweep, frozen.number, Step.PASSED, signed, evidence)

    def _register(self, frozen: Frozen, signed: Signed) -> None:
        from store.mirror.registry import Registry, model_name  # takes MLflow

        version = Registry(self.store.url).register(frozen)
        evidence = {"model": model_name(frozen.sweep), "version": version}
        self.ledger.append(frozen.sweep, frozen.number, Step.REGISTERED, signed, evidence)


def signed(why: str, who: str | None = None) -> Signed:
    """By whoever runs this process, unless it is said."""
    return Signed(who or f"{getpass.getuser()}@{platform.node()}", why)
