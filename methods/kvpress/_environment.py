"""The environment of kvpress: which methods need it, and where its interpreter is.

Imports nothing heavy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

NAME: Final = "kvpress"
"""What the environment is called, and what the ids of its methods begin with."""
VARIABLE: Final = "PARETOKEN_KVPRESS_PYTHON"
"""Environment variable that names the interpreter, the same on every node of a cluster."""
BUILT: Final = Path(__file__).parents[2] / ".fidelity" / "bin" / "python"
"""What ``make kvpress`` builds."""


def is_press(name: str) -> bool:
    """Whether an id or a pattern means presses."""
    return name.startswith(f"{NAME}/")


def interpreter() -> str | None:
    """Path of an interpreter whose environment has kvpress and this package, or None.

    One that the variable names is not looked for, because it may exist on other machines only.
    """
    named = os.environ.get(VARIABLE)
    return named or (str(BUILT) if BUILT.exists() else None)


def how_to_build() -> str:
    """The rest of a sentence that there is no such environment."""
    return f"'make kvpress' builds one, and {VARIABLE} can name the interpreter of another"
