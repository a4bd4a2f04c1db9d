"""Where a pool's trials come from while it runs: a search that looks at results and asks for more,
beside other pools that run trials of the same plan.

:class:`NoFeed` is that of a pool on its own, whose trials are all known beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sweeps.timing import TimingSpec
from sweeps.trial import Head, TrialResult, TrialSpec


class Feed(Protocol):
    """Asked by the pool, in its thread. Trials that it returns are known to the store."""

    @property
    def width(self) -> int:
        """Most trials that may run at once; more workers would idle."""
        ...

    def after(self, result: TrialResult) -> Sequence[TrialSpec]:
        """Trials to add now that this result is durable."""
        ...

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:
        """By trial id, shorter trials that these can go on from."""
        ...

    def claim(self, specs: Sequence[TrialSpec]) -> Sequence[TrialSpec]:
        """Those that are this pool's to run from now on; asked shortly before it does."""
        ...

    def claim_timing(self, spec: TimingSpec) -> bool:
        """The same of a timing."""
        ...

    def due(self, specs: Sequence[TrialSpec]) -> Sequence[TrialSpec]:
        """Of claimed ones those that are still to be run here; asked as they are handed out."""
        ...


class NoFeed:
    """Nothing follows, and everything is the pool's own."""

    width = 0

    def after(self, result: TrialResult) -> Sequence[TrialSpec]:  # noqa: ARG002 - nothing follows
        """Nothing."""
        return ()

    def heads(self, specs: Sequence[TrialSpec]) -> Mapping[str, Head]:  # noqa: ARG002
        """None: every trial is whole."""
        return {}

    def claim(self, specs: Sequence[TrialSpec]) -> Sequence[TrialSpec]:
        """All."""
        return specs

    def claim_timing(self, spec: TimingSpec) -> bool:  # noqa: ARG002 - whichever it is
        """Ours."""
        return True

    def due(self, specs: Sequence[TrialSpec]) -> Sequence[TrialSpec]:
        """All."""
        return specs
