"""Hits of our own making against a running service, each on a message of its own."""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from app.model.ids import newsletter_key
from app.settings.load import load, with_secrets
from app.storage.clickhouse import Storage
from app.tracking.tokens import LinkToken, MessageToken, Tokens
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service

TARGET = "https://example.com/landing?a=1"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0"


class Load:
    """Threads that click and open as fast as they are answered.

    `answered` holds the message ids (hex) whose answer came, `cut` those whose answer never did.
    """

    def __init__(
        self, service: Service, newsletter: str, clicks: float = 0.5, pause: float = 0
    ) -> None:
        self.url = service.url
        self.tokens = Tokens(with_secrets(load(data_dir=service.data_dir)).secret_keys)
        self.newsletter = newsletter_key("default", newsletter)
        self.clicks, self.pause = clicks, pause  # the share of clicks; seconds between a thread's
        self.answered: list[str] = []
        self.cut: list[str] = []
        self.wrong: list[str] = []

    @contextmanager
    def running(self, threads: int = 4) -> Iterator[None]:
        """From the first answer until the block ends; a thread ends when the service is gone."""
        stop, before = threading.Event(), len(self.answered)
        started = [threading.Thread(target=self._work, args=(stop,)) for _ in range(threads)]
        for thread in started:
            thread.start()
        while len(self.answered) == before and any(thread.is_alive() for thread in started):
            time.sleep(0.001)
        try:
            yield
        finally:
            stop.set()
            for thread in started:
                thread.join()

    def more(self, count: int) -> None:
        """Wait for so many more answers than there are now."""
        wanted = len(self.answered) + count
        wait_for(lambda: len(self.answered) >= wanted, "answers", lambda: (self.cut, self.wrong))

    def _work(self, stop: threading.Event) -> None:
        headers = {"user-agent": PERSON}
        with httpx2.Client(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            verify=False,
            timeout=PATIENCE_SECONDS,
        ) as client:
            while not stop.is_set():
                message = os.urandom(16)
                try:
                    self._hit(client, message)
                    time.sleep(self.pause)
                except httpx2.TransportError:
                    self.cut.append(message.hex())
                    return

    def _hit(self, client: httpx2.Client, message: bytes) -> None:
        token = self.tokens.message(MessageToken(message, self.newsletter, 1))
        if random.random() < self.clicks:
            link = self.tokens.link(LinkToken(self.newsletter, 0, TARGET))
            answer = client.get(f"/c/{token}/{link}")
            right = answer.status_code == 302 and answer.headers["location"] == TARGET
        else:
            answer = client.get(f"/o/{token}.gif")
            right = answer.status_code == 200 and len(answer.content) == 43
        if not right:
            self.wrong.append(f"{answer.status_code} {answer.headers}")
        self.answered.append(message.hex())


def counted(dsn: str, folder: Path, load_: Load) -> dict[str, int]:
    """How often each message was counted, as the server has it."""
    storage = Storage(load(data_dir=folder, clickhouse_dsn=dsn))
    rows = storage.query(
        "SELECT lower(replaceAll(toString(message), '-', '')) AS message, toInt64(sum(sign)) AS n"
        " FROM hits WHERE newsletter = {newsletter:UInt64} GROUP BY message",
        {"newsletter": load_.newsletter},
    )
    storage.close()
    return {row["message"]: row["n"] for row in rows}


def assert_exact(found: dict[str, int], load_: Load) -> None:
    """Every answered hit counts once; one that was cut off may count, but once."""
    assert not load_.wrong, load_.wrong[:3]
    assert set(found.values()) <= {1}, "a hit was doubled"
    assert not set(load_.answered) - set(found), "a hit was lost"
    assert set(found) <= set(load_.answered) | set(load_.cut)
