"""The exceptions by which a model says that it has no answer to some inputs, as refusals."""

from __future__ import annotations

from methods.backbones.base import VacuousCompressionError
from methods.base import InfeasibleError
from orchestrator.serving.messages import Refusal

UNANSWERABLE = (VacuousCompressionError, FloatingPointError, InfeasibleError)
"""Of the inputs; everything else is a mistake of ours."""


def refusal_of(error: Exception) -> Refusal:
    """What to tell the caller of one of :data:`UNANSWERABLE`."""
    if isinstance(error, VacuousCompressionError):
        return Refusal("the inputs are too short: this configuration has nothing to compress")
    if isinstance(error, FloatingPointError):
        return Refusal("the model's numbers overflow on these inputs")
    return Refusal(str(error))
