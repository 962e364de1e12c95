"""The system's clock is set while the service runs and between runs: nothing is lost or doubled."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.demo import agents
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.torture import LONG, longer
from tests.support.webhook_receiver import Receiver, receiver

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs faketime")


class Clocked:
    """A service whose clock the test sets."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self.set("+0")
        environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.service = Service(folder / "data", LOCAL_RECEIVERS, **WITH_HTTP, **environment)
        self.clicks = 0

    def set(self, offset: str) -> None:
        partial = self._offset.with_suffix(".new")
        partial.write_text(offset)
        partial.replace(self._offset)

    def click(self) -> None:
        """A customer clicks a link of a new mail."""
        self.clicks += 1
        self.service.wait_for(self._has_tables, "tables")
        html = '<body><a href="https://e.example/">x</a>'
        made = self.service.rewrite("n", html, f"r{self.clicks}@example.com")
        link = next(path for path in paths(tracked_urls(made["html"])) if path.startswith("/c/"))
        assert self.service.client.get(link, headers=PERSON).status_code == 302

    def _has_tables(self) -> bool:
        return self.service.client.get("/v1/newsletters").status_code == 200

    def trouble(self) -> str:
        return " ".join(self.service.client.get("/healthz/full").json()["trouble"])

    def _waiting(self) -> list[Path]:
        """Returns what is not loaded or not corrected yet; with trouble nothing is healthy."""
        journal = self.service.data_dir / "journal"
        return [path for path in journal.iterdir() if path.suffix in (".seg", ".done", ".fix")] or [
            path for path in journal.glob("*.open") if path.stat().st_size
        ]

    def check(self, there: Receiver) -> None:
        """Every click is counted once, is in the feed once, and has reached the receiver once."""
        service = self.service
        service.wait_for(lambda: not self._waiting(), "an empty journal")
        assert service.stats("n")["clicks"]["all"]["total"] == self.clicks
        service.wait_for(lambda: len(there.requests) >= self.clicks, "deliveries")
        ids = Counter(headers["webhook-id"] for _, headers, _ in there.requests)
        assert len(ids) == self.clicks and set(ids.values()) == {1}
        events = service.client.get("/v1/events?limit=1000").text
        assert events.count('"message.clicked"') == self.clicks


@contextmanager
def clocked(folder: Path) -> Iterator[tuple[Clocked, Receiver]]:
    of = Clocked(folder)
    with receiver() as there, of.service:
        of.service.ready()
        hook = {"url": there.url, "types": ["message.clicked"], "when": "immediate"}
        assert of.service.client.post("/v1/webhooks", json=hook).status_code == 200
        yield of, there


@longer
@pytest.mark.parametrize("offset", ["-2y", *(["+3h", "-3h", "+14y"] if LONG else [])])
def test_a_clock_that_is_set_and_set_right(tmp_path: Path, offset: str) -> None:
    with clocked(tmp_path) as (of, there):
        of.click()
        of.check(there)
        of.set(offset)
        of.service.wait_for(lambda: "the system's clock went" in of.trouble(), "trouble")
        of.click()
        of.check(there)
        of.set("+0")
        of.service.wait_for(lambda: not of.trouble(), "the right time")
        of.click()
        of.check(there)


@longer
@pytest.mark.parametrize("offset", ["+14y", *(["-3h"] if LONG else [])])
def test_a_start_with_a_wrong_clock(tmp_path: Path, offset: str) -> None:
    with clocked(tmp_path) as (of, there):
        of.click()
        of.check(there)
        of.service.stop()
        of.set(offset)
        of.service.start()
        of.click()
        of.check(there)
        of.service.stop()
        of.set("+0")
        of.service.start()
        of.click()
        of.check(there)
