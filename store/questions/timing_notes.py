"""What to know about times before believing an answer that rests on them."""

from __future__ import annotations

from collections.abc import Iterator, Set

from methods.naming import counted
from store.frontiers.paired import Paired
from sweeps.times import TIME_METRICS


def timing_notes(paired: Paired, metrics: Set[str]) -> Iterator[str]:
    """Sentences about the times among ``metrics``; none where there are none."""
    named = sorted(metrics & TIME_METRICS)
    if not named:
        return
    groups = paired.configurations
    outside = [each for each in groups if each.outside_lane & metrics]
    taken = [each for each in outside if any(each.metrics[name] is not None for name in named)]
    if taken:
        yield (
            f"not compared by {', '.join(named)}: {counted(len(taken), 'configuration')} timed "
            "while other trials ran; `paretoken run` times again in the measurement lane"
        )
    if len(outside) > len(taken):
        untimed = counted(len(outside) - len(taken), "configuration")
        yield f"{untimed} not timed yet: `paretoken run`"
    inside = [each for each in groups if not each.outside_lane & metrics]
    disturbed = [each for each in inside if each.disturbed]
    if disturbed:
        reason = min(disturbed[0].disturbed)
        yield f"{counted(len(disturbed), 'timing')} may have been disturbed, e.g. {reason}"
    devices = frozenset().union(*(each.devices for each in inside))
    if len(devices) > 1:
        yield f"times come from {len(devices)} devices: {', '.join(sorted(devices))}"
