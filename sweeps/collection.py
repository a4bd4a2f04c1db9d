"""Building much plain data at once without Python's collector looking through it again and again.

Long plans are a million objects that live until the end and hold no cycles; searching them for
garbage takes as long as making them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles inside the block, or the function that this decorates.

    Nor right behind it: what was made counts as old, as if it had been searched already.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
