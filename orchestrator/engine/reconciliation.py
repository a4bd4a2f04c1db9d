"""What a run finds when it starts where others have ended, finished or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from methods.naming import counted
from orchestrator.engine.leasing import Dead


@dataclass
class Reconciliation:
    """Counts of what was found; grows while a run takes over from drivers that die."""

    finished: int = 0
    """Trials of the plan that need not run."""
    repaired: int = 0
    """MLflow runs that were left RUNNING or without their results; this run ends them."""
    run_again: set[str] = field(default_factory=set)
    """Trials of the plan that were being measured when their driver died."""
    dead: list[str] = field(default_factory=list)
    """Drivers that died, by host and process."""

    def take_over(self, dead: Dead, planned: set[str]) -> None:
        """Add what dead drivers have left of this plan."""
        self.dead += dead.drivers
        self.run_again |= dead.in_flight & planned

    @property
    def sentence(self) -> str:
        """In one line; empty if there is nothing to tell."""
        return "; ".join(self._parts())

    def row(self) -> dict[str, Any]:
        """As part of a JSON object."""
        return {
            "finished": self.finished,
            "repaired": self.repaired,
            "run_again": len(self.run_again),
            "dead": self.dead,
        }

    def _parts(self) -> Iterator[str]:
        if self.finished:
            yield f"{counted(self.finished, 'trial')} finished"
        if self.repaired:
            yield f"{counted(self.repaired, 'MLflow run')} left unfinished, repaired"
        names = ", ".join(self.dead)
        if self.run_again:
            yield f"{counted(len(self.run_again), 'trial')} run again, in flight when {names} died"
        elif self.dead:
            yield f"{names} died"
