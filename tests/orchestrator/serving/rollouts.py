"""Steps in a ledger, as the commands take them, without the minutes that a gate takes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from store.releases.ledger import Ledger, Signed
from store.releases.line import Step, Terms
from store.releases.release import Release
from store.repository import Store

ME = Signed("me", "")


def passed(ledger: Ledger, release: Release, golden: dict[str, Any] | None = None) -> int:
    """Freeze, and say that the gate was passed; the release's number."""
    frozen, _ = ledger.freeze(release.sweep, release.model_dump(mode="json"), {}, ME)
    evidence = {"exact": ["digits"], "golden": golden or {}}
    ledger.append(release.sweep, frozen.number, Step.PASSED, ME, evidence)
    return frozen.number


def take(ledger: Ledger, sweep: str, number: int, step: Step, terms: Terms | None = None) -> int:
    """A step; its sequence number."""
    evidence = {} if terms is None else {"terms": terms.model_dump()}
    return ledger.append(sweep, number, step, ME, evidence).sequence


def copied(store: Store, file: Path) -> str:
    """The address of a copy of a store, to release from."""
    assert store._database.file is not None
    source, target = sqlite3.connect(store._database.file), sqlite3.connect(file)
    with closing(source), closing(target):
        source.backup(target)
    return f"sqlite:///{file}"
