"""Ends an answer where a stop string begins, however the text is cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Lets text through until one of ``stop`` is in it.

    Holds back what may become a stop string, so that nothing of one is ever let through.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = [text for text in stop if text]
        self._held = ""
        self.reached = False

    def push(self, text: str) -> str:
        """What of the text so far can go on."""
        self._held += text
        found = [at for at in map(self._held.find, self._stop) if at >= 0]
        if found:
            self.reached = True
            return self._released(min(found), keep=0)
        most = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        return self._released(len(self._held) - most, keep=most)

    def flush(self) -> str:
        """What was held back and became no stop string."""
        return self._released(len(self._held), keep=0)

    def _released(self, length: int, keep: int) -> str:
        released, held = self._held[:length], self._held[length : length + keep]
        self._held = held
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` with which ``stop`` begins, not the whole of it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
