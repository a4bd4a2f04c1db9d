"""A ledger takes each step once, forgets none, and says what is to be served."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update

from store.database import Database
from store.models import ReleaseRow
from store.releases.ledger import Frozen, Ledger, LedgerError, Signed
from store.releases.line import Line, Step, Terms
from store.repository import Store

ME = Signed("me", "because")
TERMS = {"terms": Terms(share=0.25).model_dump()}


@pytest.fixture
def ledger(store: Store) -> Iterator[Ledger]:
    opened = Ledger(store.url)
    yield opened
    opened.close()


def frozen(ledger: Ledger, content: dict[str, Any], passed: bool = True) -> Frozen:
    release, _ = ledger.freeze("quickstart", content, {"revision": "abc"}, ME)
    if passed:
        ledger.append("quickstart", release.number, Step.PASSED, ME)
    return release


def append(ledger: Ledger, number: int, step: Step, **evidence: Any) -> Line:
    ledger.append("quickstart", number, step, ME, evidence)
    return ledger.line("quickstart")


def test_the_same_content_is_one_release_and_other_content_the_next(ledger: Ledger) -> None:
    first, new = ledger.freeze("quickstart", {"a": 1, "b": [0.1]}, {"revision": "abc"}, ME)
    assert new
    assert first.name == "quickstart@1"
    assert ledger.freeze("quickstart", {"b": [0.1], "a": 1}, {"revision": "def"}, ME) == (
        first,
        False,
    )
    assert ledger.freeze("quickstart", {"a": 2}, {}, ME)[0].number == 2
    assert ledger.freeze("other", {"a": 2}, {}, ME)[0].name == "other@1"
    assert ledger.release("quickstart", 1) == first
    assert ledger.newest("quickstart") == 2
    assert ledger.sweeps() == ["other", "quickstart"]


def test_content_that_was_changed_is_refused(store: Store, ledger: Ledger) -> None:
    frozen(ledger, {"quality": 0.5})
    with Database(store.url).write() as connection:
        connection.execute(update(ReleaseRow).values(content={"quality": 0.9}))
    with pytest.raises(ValueError, match="quickstart@1 is not what was frozen"):
        ledger.release("quickstart", 1)


def test_a_line_goes_forward_and_back(ledger: Ledger) -> None:
    for number in range(3):
        frozen(ledger, {"number": number})
    assert append(ledger, 1, Step.ACTIVE).active == 1
    tried = append(ledger, 2, Step.CANARY, **TERMS)
    assert tried.active == 1
    assert tried.canary is not None
    assert (tried.canary.number, tried.canary.terms.share) == (2, 0.25)
    assert append(ledger, 2, Step.ROLLED_BACK).canary is None
    append(ledger, 2, Step.CANARY, **TERMS)
    taken_over = append(ledger, 2, Step.ACTIVE)
    assert (taken_over.active, taken_over.previous, taken_over.canary) == (2, 1, None)
    assert append(ledger, 3, Step.ACTIVE).previous == 2
    back = append(ledger, 3, Step.ROLLED_BACK)
    assert (back.active, back.previous) == (2, 1)
    assert append(ledger, 2, Step.ROLLED_BACK).active == 1
    assert append(ledger, 1, Step.ROLLED_BACK).active is None
    entries = ledger.entries("quickstart")
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert {(entry.who, entry.why) for entry in entries} == {("me", "because")}
    assert ledger.sequence("quickstart") == len(entries)


@pytest.mark.parametrize(
    ("step", "number", "words"),
    [
        (Step.ACTIVE, 3, "release 3 has not passed its gate"),
        (Step.ACTIVE, 1, "release 1 is active already"),
        (Step.CANARY, 1, "release 1 is active already"),
        (Step.ROLLED_BACK, 2, "release 2 is neither active nor a canary"),
    ],
)
def test_steps_that_make_no_sense_are_refused(ledger: Ledger, step, number, words) -> None:
    for content in range(3):
        frozen(ledger, {"content": content}, passed=content < 2)
    append(ledger, 1, Step.ACTIVE)
    before = ledger.entries("quickstart")
    with pytest.raises(LedgerError, match=words):
        ledger.append("quickstart", number, step, ME, TERMS)
    assert ledger.entries("quickstart") == before


def test_a_failed_gate_takes_an_earlier_pass_away(ledger: Ledger) -> None:
    frozen(ledger, {})
    append(ledger, 1, Step.FAILED)
    with pytest.raises(LedgerError, match="has not passed"):
        append(ledger, 1, Step.ACTIVE)


def test_of_two_that_saw_the_same_step_one_alone_goes_on(ledger: Ledger) -> None:
    for content in range(2):
        frozen(ledger, {"content": content})
    seen = append(ledger, 1, Step.ACTIVE).sequence
    ledger.append("quickstart", 2, Step.ACTIVE, ME, after=seen)
    with pytest.raises(LedgerError, match=f"has gone on since step {seen}"):
        ledger.append("quickstart", 1, Step.ROLLED_BACK, ME, after=seen)


def test_steps_taken_at_once_are_all_kept_in_one_order(store: Store, ledger: Ledger) -> None:
    frozen(ledger, {})

    def write(who: int) -> list[int]:
        own = Ledger(store.url)
        taken = [
            own.append("quickstart", 1, Step.REGISTERED, Signed(str(who), "")).sequence
            for _ in range(10)
        ]
        own.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = sorted(sequence for own in pool.map(write, range(4)) for sequence in own)
    assert taken == list(range(3, 43))
