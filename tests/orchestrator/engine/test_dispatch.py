"""Which trial goes where: pure promises of the queue."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.dispatch import Affinity, TrialQueue, affinity
from sweeps.trial import TrialSpec
from tests.orchestrator.trials import specs


@given(
    count=st.integers(1, 30),
    backbones=st.integers(1, 6),
    limit=st.integers(1, 5),
    workers=st.integers(1, 4),
    losses=st.sets(st.integers(0, 29)),
)
def test_every_trial_is_taken_once_whatever_is_put_back(
    count: int, backbones: int, limit: int, workers: int, losses: set[int]
) -> None:
    trials = specs(count, backbones)
    queue = TrialQueue([*trials, *trials])
    held: list[Affinity | None] = [None] * workers
    ended: list[str] = []
    turn = 0
    while len(queue):
        seat = turn % workers
        others = [key for other, key in enumerate(held) if other != seat]
        taken = queue.take_suspect() or queue.take(held[seat], others, limit)
        assert 1 <= len(taken) <= limit
        assert len({affinity(spec) for spec in taken}) == 1
        held[seat] = affinity(taken[0])
        lost = turn in losses
        queue.put_back(taken) if lost else ended.extend(spec.id for spec in taken)
        turn += 1
    assert sorted(ended) == sorted(spec.id for spec in trials)


def test_what_is_added_again_is_left_out_even_while_it_runs() -> None:
    trials = specs(3)
    queue = TrialQueue(trials[:2])
    running = queue.take(None, [], 1)
    queue.add(trials)
    assert queue.take(None, [], 10) == trials[1:]
    queue.put_back(running)
    assert queue.take_suspect() == running


def test_a_worker_stays_with_what_it_has_loaded_and_keeps_the_order() -> None:
    trials = specs(6, backbones=2)
    queue = TrialQueue(trials)
    first = queue.take(None, [None], 1)
    other = queue.take(None, [affinity(first[0])], 1)
    assert affinity(other[0]) != affinity(first[0]), "two workers load two backbones, not four"
    rest = [queue.take(affinity(first[0]), [affinity(other[0])], 1)[0] for _ in range(2)]
    assert [*first, *rest] == [spec for spec in trials if affinity(spec) == affinity(first[0])]


def test_a_worker_without_work_of_its_own_helps_where_most_is_left() -> None:
    trials = specs(12, backbones=2)
    few, many = affinity(trials[0]), affinity(trials[1])
    queue = TrialQueue([trials[0], *trials[1::2]])
    [helped] = queue.take(None, [few, many], 1)
    assert affinity(helped) == many
    [first] = queue.take(None, [many], 1)
    assert affinity(first) == few, "what no worker has begun is not starved"


@given(count=st.integers(0, 40), limit=st.integers(1, 5), elsewhere=st.sets(st.integers(0, 39)))
def test_of_a_shared_plan_no_trial_is_taken_twice_and_little_is_claimed_ahead(
    count: int, limit: int, elsewhere: set[int]
) -> None:
    trials = specs(count, backbones=2)
    free = {spec.id for spec in trials if spec.seed not in elsewhere}
    claimed: list[str] = []

    def claim(asked: Sequence[TrialSpec]) -> list[TrialSpec]:
        ours = [spec for spec in asked if spec.id in free]
        claimed.extend(spec.id for spec in ours)
        return ours

    queue = TrialQueue(trials, claim)
    taken: list[str] = []
    while found := queue.take(None, [], limit):
        taken += [spec.id for spec in found]
        assert elsewhere or claimed == taken
    assert sorted(taken) == sorted(claimed) == sorted(free)
    assert not len(queue)


def test_trials_that_were_put_back_come_first_and_one_at_a_time() -> None:
    queue = TrialQueue(specs(10))
    lost = queue.take(None, [], 3)
    queue.put_back(lost)
    assert len(queue) == 10
    assert [queue.take_suspect() for _ in range(4)] == [*([spec] for spec in lost), []]
    assert all(map(queue.is_suspect, lost))
    assert not any(map(queue.is_suspect, queue.take(None, [], 10)))
