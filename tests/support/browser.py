"""Chromium, whose pages wait as long as every test does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.patience import PATIENCE_SECONDS

PATIENCE_MS = PATIENCE_SECONDS * 1000


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A browser until the block ends; `flags` are Chromium's, without dashes."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[f"--{flag}" for flag in flags],
            timeout=PATIENCE_MS,
        )
        for name in ("new_context", "new_page"):
            setattr(browser, name, _patient(getattr(browser, name)))
        yield browser
        browser.close()


def _patient(new: Callable[..., Any]) -> Callable[..., Any]:
    """Playwright has no limit for a whole browser, so each context and page gets it."""

    def patient(**options: Any) -> Any:
        context_or_page = new(**options)
        context_or_page.set_default_timeout(PATIENCE_MS)
        return context_or_page

    return patient
