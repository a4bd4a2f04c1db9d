"""A real Chromium for tests that look at pages; skipped, with the reason, where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Page, expect, sync_playwright

LAPTOP: Final = {"width": 1366, "height": 768}
PATIENCE_S: Final = 60.0
"""How long a page is waited for; a busy machine is slow."""
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
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

    No other machine has a name here: pages have to work without a network.
    """
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=[*_FLAGS])
        try:
            opened = browser.new_page(viewport=LAPTOP)  # type: ignore[arg-type]
            opened.set_default_timeout(1000 * PATIENCE_S)
            expect.set_options(timeout=1000 * PATIENCE_S)
            opened.on("pageerror", lambda error: errors.append(str(error)))
            yield opened
        finally:
            browser.close()
    assert not errors, "\n".join(errors)
