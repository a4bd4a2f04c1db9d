"""Breaks and repairs against loops over every outcome."""

from __future__ import annotations

import numpy as np
import pytest

from store.frontiers.paired import Paired, UnanswerableError
from store.questions.drill_down import drill_down, find
from tests.store.comparisons import BITS_AND_KV, flops, paired, right_or_wrong

METHODS = ["identity", "a", "b", "c"]
KEEPS = [1.0, 0.5, 0.5, 0.25]


def table(seed: int = 0, missing: float = 0.1) -> Paired:
    rng = np.random.default_rng(seed)
    outcomes = right_or_wrong(rng, 4, 3, 12, share=0.6)
    outcomes[rng.random(outcomes.shape) < missing] = np.nan
    return paired(outcomes, flops(1.0, 0.5, 0.5, 0.2), method=METHODS, keep_ratio=KEEPS)


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_lists_agree_with_loops(seed: int) -> None:
    whole = table(seed)
    down = drill_down(whole)
    base = whole.outcomes_PSE[0]
    for tally in down.tallies():
        own = whole.outcomes_PSE[tally.index]
        pairs = [(base[s, e], own[s, e], s, e) for s in range(3) for e in range(12)]
        known = [pair for pair in pairs if not np.isnan(pair[0] + pair[1])]
        broken = {(e, s) for b, o, s, e in known if b == 1 and o == 0}
        repaired = {(e, s) for b, o, s, e in known if b == 0 and o == 1}
        assert (tally.compared, tally.breaks, tally.repairs) == (
            len(known),
            len(broken),
            len(repaired),
        )
        assert tally.difference == pytest.approx(np.mean([o - b for b, o, _, _ in known]))
        listed = down.changed(tally.index)
        for change, expected in (("breaks", broken), ("repairs", repaired)):
            rows = [each for each in listed if each.change == change]
            assert {(each.example, s) for each in rows for s in each.seeds} == expected
            assert all(abs(each.outcome - each.baseline) == 1 for each in rows)


@pytest.mark.parametrize("seed", range(5))
def test_what_every_configuration_breaks_agrees_with_loops(seed: int) -> None:
    whole = table(seed)
    base = whole.outcomes_PSE[0]

    def loses(index: int, example: int) -> bool:
        own = whole.outcomes_PSE[index, :, example]
        right = [own[s] for s in range(3) if base[s, example] == 1 and not np.isnan(own[s])]
        return bool(right) and all(value == 0 for value in right)

    hard = {each.keep_ratio: each for each in drill_down(whole).hardest()}
    assert list(hard) == [0.5, 0.25]
    for ratio, members in ((0.5, [1, 2]), (0.25, [3])):
        counts = {e: sum(loses(index, e) for index in members) for e in range(12)}
        assert hard[ratio].configurations == len(members)
        assert list(hard[ratio].lost) == [e for e in counts if counts[e] == len(members)]
        assert dict(hard[ratio].broken_by) == {e: n for e, n in counts.items() if n}


def test_minimised_outcomes_break_upwards() -> None:
    outcomes = [[1.0, 1.0, 1.0], [1.6, 1.4, 0.4]]
    whole = paired(outcomes, [{"kv": 1.0}, {"kv": 0.5}], BITS_AND_KV, method=METHODS[:2])
    down = drill_down(whole)
    assert down.margin == 0.5
    assert [(each.example, each.change) for each in down.changed(1)] == [
        (0, "breaks"),
        (2, "repairs"),
    ]
    assert [each.breaks for each in drill_down(whole, margin=0.3).tallies()] == [2]


def test_configurations_are_found_by_trial_or_by_name() -> None:
    whole = table()
    assert find(whole, "a@0.5") == 1
    assert find(whole, "c-0.25") == 3
    with pytest.raises(ValueError, match=r"names no configuration .* choices: a-0\.5-0"):
        find(whole, "a@0.3")
    with pytest.raises(ValueError, match=r"'d@1' names no configuration .*\(identity@1 uniform\)"):
        find(whole, "d@1")
    twice = paired(
        [[1.0]] * 2, flops(0.5, 0.6), method=["a"] * 2, schedule=["x", "y"], trial=["t1", "t2"]
    )
    with pytest.raises(ValueError, match=r"'a@0\.5' names several configurations"):
        find(twice, "a@0.5")


def test_without_a_baseline_there_is_nothing_to_break() -> None:
    alone = paired([[1.0, 0.0]], flops(0.5))
    with pytest.raises(UnanswerableError, match="no uncompressed model"):
        drill_down(alone)
    with pytest.raises(ValueError, match="a margin is a difference"):
        drill_down(table(), margin=0.0)
