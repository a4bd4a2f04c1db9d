"""video-qa: answer a question about a short video of small coloured digits, in one word.

Six frames of 64 visual tokens each; the background never changes but for a little noise. One digit
moves from a cell to another, two appear for two frames each, up to two stand still. ``asked``
chooses the question:

- ``what``: which digit is red? It may have been there for two frames only; chance is 0.10.
- ``when``: in which third of the video does the red digit appear? Chance is about 0.4.
- ``order``: which of two digits comes first? Chance is 0.5.
- ``motion``: towards which side does the red digit go? Its first place and its last have to be
  kept; chance is 0.25.

Metric: accuracy, maximised. Data: :mod:`sweeps.data.videos`; real scans of 300 digits that no
training video contains, composed into a fixed stream of test videos per question. A task with 128
examples sees the first 128 of one with 256. Because scans recur in the stream, its videos are not
quite independent: a standard error over examples is a little too small.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from methods.contexts import VisualLayout
from sweeps.data import videos, wording
from sweeps.data.dialogues import Dialogues
from sweeps.data.videos import Asked
from sweeps.tasks._dialogue import DialogueTask


class VideoQA(DialogueTask):
    """Accuracy of one-word answers about videos."""

    id: ClassVar[str] = "video-qa"
    version: ClassVar[int] = 1

    asked: Asked = Field(default="what", description="What the question is about; see the card.")

    def drawn(self) -> Dialogues:
        """The front of the question's test stream."""
        return videos.stream("test", self.asked, self.num_examples)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the frames, in order."""
        return wording.FRAMES

    def layout(self, grid: tuple[int, int]) -> VisualLayout:
        """Frames of a video."""
        return VisualLayout(len(self.names), grid, "frames")
