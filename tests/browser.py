"""A real Chromium for tests that look at pages; skipped, with the reason, where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Page, sync_playwright

LAPTOP: Final = {"width": 1366, "height": 768}
PATIENCE_S: Final = 60.0
"""How long a page is waited for; a busy machine is slow."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """The browser on the PATH; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser on the PATH; looked for {', '.join(_NAMES)}")
    return found


@contextmanager
def page() -> Iterator[Page]:
    """An empty page on a laptop's screen. On leaving, errors that its scripts threw are raised.

    Whatever is asked for from another machine is refused: pages have to work without a network.
    """
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"],
        )
        try:
            opened = browser.new_page(viewport=LAPTOP)  # type: ignore[arg-type]
            opened.set_default_timeout(1000 * PATIENCE_S)
            opened.route(_is_foreign, lambda route: route.abort())
            opened.on("pageerror", lambda error: errors.append(str(error)))
            yield opened
        finally:
            browser.close()
    assert not errors, "\n".join(errors)


def _is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:", "file:"))
