"""What tests of tables and pages share: how a table looks, and what a module imports."""

from __future__ import annotations

import io
import subprocess
import sys

from rich.console import Console, RenderableType


def text(renderable: RenderableType, width: int = 120) -> str:
    """As a terminal of so many columns shows it, without colours."""
    console = Console(record=True, width=width, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.export_text()


def imported_with(module: str, libraries: tuple[str, ...]) -> str:
    """Which of the libraries a fresh process has imported with the module, as a list's repr."""
    script = f"import sys, {module}; print([m for m in {libraries} if m in sys.modules])"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
