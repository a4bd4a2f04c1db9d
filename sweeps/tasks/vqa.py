"""vqa: answer questions about pictures of small coloured digits, one word each.

A digit is four of a picture's 64 visual tokens, and a compression method has to keep what will be
asked about. Metric: accuracy of the last answer, maximised. ``kind`` chooses the dialogue:

- ``single``: which digit is red, what colour has the seven, how many digits are there, is there a
  seven? Chance is between 0.1 and 0.5.
- ``detail``: which digit stands in this row and column? One exact place; chance is 0.10.
- ``two-turn``: two different questions over the same compressed picture. Only the first is known
  when tokens are cut, and only the second counts: what a question-aware method threw away shows.
- ``several``: four pictures of up to three digits in one context; which holds a seven, or a red
  digit? Exactly one does. Chance is 0.25.
- ``anyres``: a picture of four times the area, as a thumbnail in which a digit is about one token
  and as 2x2 crops; which digit is red, what colour has the seven, is there a seven, in which crop
  is the red digit?

Data: :mod:`sweeps.data.dialogues`; real scans of 300 digits that no training picture contains,
composed into a fixed stream of test dialogues per kind. A task with 128 examples sees the first 128
of one with 256. Because scans recur in the stream, its pictures are not quite independent: a
standard error over examples is a little too small.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from methods.contexts import VisualLayout
from sweeps.data import dialogues
from sweeps.data.dialogues import NAMES, TURNS, Dialogues, Kind
from sweeps.tasks._dialogue import DialogueTask


class VQA(DialogueTask):
    """Accuracy of one-word answers about pictures."""

    id: ClassVar[str] = "vqa"
    version: ClassVar[int] = 1

    kind: Kind = Field(default="single", description="What is shown and asked; see the card.")

    def drawn(self) -> Dialogues:
        """The front of the kind's test stream."""
        return dialogues.stream("test", self.kind, self.num_examples)

    @property
    def names(self) -> tuple[str, ...]:
        """A lone picture's, four pictures', or those of a thumbnail and four crops."""
        return NAMES[self.kind]

    @property
    def num_turns(self) -> int:
        """Questions of a dialogue."""
        return TURNS[self.kind]

    def layout(self, grid: tuple[int, int]) -> VisualLayout:
        """One picture, several pictures, or a thumbnail and 2x2 crops."""
        if self.kind == "anyres":
            return VisualLayout(len(self.names), grid, "crops", crop_grid=(2, 2))
        return VisualLayout(
            len(self.names), grid, "several" if self.kind == "several" else "single"
        )
