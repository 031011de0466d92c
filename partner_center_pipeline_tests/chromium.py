"""The machine's Chromium, driven by Playwright: the one way in which tests find and start it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
"""Commands that may be there; `.ci/run` looks for the same."""


class NoChromiumError(Exception):
    """There is no Chromium on this machine. The message says what to install."""


def executable(path: str | None = None) -> str:
    """Return the path of Chromium. `path` is searched instead of PATH. Raises NoChromiumError."""
    found = next(filter(None, (shutil.which(name, path=path) for name in NAMES)), None)
    if found is None:
        raise NoChromiumError(
            "these tests drive Chromium, and none is on this machine: `apt-get install chromium` (Debian), or install "
            f"Google Chrome; looked for {', '.join(NAMES)}"
        )
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium, without a window, while the block runs."""
    found = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        try:
            yield browser
        finally:
            browser.close()
