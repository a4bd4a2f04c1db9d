"""What cannot work, in one clear sentence each; nothing of it is a bug."""

from __future__ import annotations


class InfeasibleError(ValueError):
    """A combination that cannot work, found out only while running; the message says why.

    It does not fit: a layer that the model does not have, a prompt that is too short. The same
    trial will not work anywhere else either.
    """


class MissingHereError(InfeasibleError):
    """A combination that could work, but not on this node as it is: weights or a package lack."""
