"""Takes screenshots of the demo's pages for the README: `make screenshots`.

Runs the demo for a while in a folder of its own, and writes docs/screenshots.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.paths import ROOT
from tests.support.service import free_port

OUT = ROOT / "docs" / "screenshots"
PASSWORD = secrets.token_hex(12)
SECONDS = 150  # until the charts have something to show
SHOTS = (
    ("home.png", "/?period=30d", 1440, "light"),
    ("home-phone-dark.png", "/?period=30d", 390, "dark"),
    ("newsletters.png", "/newsletters", 1440, "light"),
    ("newsletter.png", "/newsletters/spring-sale", 1440, "light"),
    (
        "compare.png",
        "/compare?newsletter=spring-sale&newsletter=launch-ridgeline-mid",
        1440,
        "light",
    ),
    ("clickmap.png", "/newsletters/spring-sale/clickmap", 1440, "light"),
    ("newsletter-phone-dark.png", "/newsletters/spring-sale?show=all", 390, "dark"),
    ("recipients-phone-dark.png", "/recipients", 390, "dark"),
)


def main() -> None:
    """Take all screenshots."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        command = [
            sys.executable,
            "-m",
            "app",
            "demo",
            "--port",
            str(port),
            "--data-dir",
            str(data),
        ]
        own = {**os.environ, "MAILWAKE_DASHBOARD_PASSWORD": PASSWORD}
        demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=own)
        try:
            time.sleep(SECONDS)
            _shoot(f"http://127.0.0.1:{port}")
        finally:
            demo.terminate()
            demo.wait(30)


def _shoot(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for name, path, width, scheme in SHOTS:
            context = browser.new_context(
                base_url=url,
                viewport={"width": width, "height": 900},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page = context.new_page()
            page.goto("/login")
            page.get_by_label("Name").fill("admin")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.goto(path)
            page.wait_for_timeout(2500)  # the stream has connected
            page.screenshot(path=OUT / name)
            print(OUT / name)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
