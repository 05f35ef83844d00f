"""A headless browser that looks at the page of the service, as a person would.

Playwright drives the system's Chromium; it brings no browser of its own here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

ARGUMENTS = (
    "--no-sandbox",  # tests may run as root
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)

SECONDS = 60.0


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start Chromium and yield it, or skip the test where it or Playwright is not installed."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt install chromium")
    reason = "playwright is not installed: pip install playwright axe-playwright-python"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page in a context of its own, all of whose requests and complaints are noted.

    Attributes:
        page: Playwright's page.
        requests: addresses that were asked for.
        complaints: what the browser wrote to its console as an error, and uncaught errors.
        num_bytes: size of all answers that are not photos.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        options = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options}
        self.address = address.rstrip("/")
        self._context = browser.new_context(base_url=self.address, **options)
        self._context.set_default_timeout(1000 * SECONDS)
        self.page = self._context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.num_bytes = 0
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("response", self._weigh)

    def _hear(self, message: Any) -> None:
        # That a key is needed is no complaint, though the console shows it as one.
        if message.type in ("error", "warning") and "401 (Unauthorized)" not in message.text:
            self.complaints.append(message.text)

    def _weigh(self, response: Any) -> None:
        if not response.url.startswith("blob:"):
            self.num_bytes += int(response.headers.get("content-length", 0))

    def open(self, view: str = "", *, key: str | None = None) -> Any:
        """Open a view, with a key where one is asked for, and return the page when it is there."""
        self.page.goto(f"/{'#/' if view else ''}{view}")
        if key is not None:
            self.page.get_by_label("Key").fill(key)
            self.page.keyboard.press("Enter")
        self.page.locator("#main h1").wait_for()
        return self.page

    def close(self) -> None:
        """Close the page, which must have asked nobody but its own server."""
        self._context.close()
        own = (f"{self.address}/", f"blob:{self.address}/")
        assert [url for url in self.requests if not url.startswith(own)] == []


@contextmanager
def watched(
    browser: Any, address: str, *, forgiven: str = "$^", **options: Any
) -> Iterator[Watched]:
    """Yield a page, of which nothing must be left to complain about.

    Args:
        browser: the browser.
        address: address of the service.
        forgiven: regular expression of complaints that do not count.
        options: options of the browser's context, such as the size of the window.
    """
    found = Watched(browser, address, **options)
    try:
        yield found
    finally:
        found.close()
    assert [text for text in found.complaints if not re.search(forgiven, text)] == []


def serious_findings(page: Any) -> list[str]:
    """Return what axe finds on a page that is serious or critical, with where it is."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    results = axe.Axe().run(page)
    return [
        f"{found['id']}: {node['html'][:200]}"
        for found in results.response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]
