"""kill -9 of the embedded engine while consent is withdrawn, a backup is made, and hits expire.

Each kind of work goes on beside hits, and in the end everything is compared: hits, all roll-ups,
feed, verdicts, and what a webhook has received.
"""

import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.model.ids import new_id, newsletter_key, recipient_key
from app.model.records import Hit, encode, now_ms
from app.settings.load import load, with_secrets
from app.tracking.tokens import MessageToken, Tokens
from tests.e2e.test_kills import SeveralHits
from tests.support.patience import PATIENCE_SECONDS
from tests.support.programs import assert_verified, hits_by_message, run, verified
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service
from tests.support.torture import LONG, longer
from tests.support.webhook_receiver import Receiver, receiver

KILLS = 60 if LONG else 1
DAY_MS = 86_400_000
# Merges drop what has expired; in a test they must come while the service is being killed.
EXPIRING = """
import threading, time
from app.ingest.loader import Loader
load = Loader.load
def load_and_merge(self, path):
    count = load(self, path)
    with self.storage.own_client(60) as client:
        client.command("OPTIMIZE TABLE hits FINAL")
    return count
Loader.load = load_and_merge
"""
_EXPIRED = """
import json, sys
from app.settings.load import load
from app.storage.clickhouse import Storage
storage, key = Storage(load()), int(sys.argv[1])
them = {"newsletter": key}
counts = [storage.query(f"SELECT toInt64(sum({what})) AS n FROM {table}"
    " WHERE newsletter = {newsletter:UInt64}", them)[0]["n"] for table, what in (
    ("hits_by_minute", "hits"), ("hits_by_message", "human + machine"), ("hits_by_agent", "hits"),
    ("hits", "sign"))]
print(json.dumps(counts))
"""


class Work:
    """What goes on beside the hits; `step` does some of it, and `check` looks at the end."""

    faults = LOCAL_RECEIVERS
    env: Mapping[str, str] = WITH_HTTP

    def __init__(self, service: Service) -> None:
        self.service = service
        settings = with_secrets(load(data_dir=service.data_dir))
        self.secret = settings.recipient_key
        self.tokens = Tokens(settings.secret_keys)

    def step(self) -> None:
        """Do it once; a service that is killed meanwhile may end this with a TransportError."""

    def restarted(self) -> None:
        """Look at the service after a kill."""

    def finish(self) -> None:
        """Do it once more, without a kill."""

    def check(self) -> None:
        """Look at the folder once the service has stopped."""


class Withdrawing(Work):
    """Recipients withdraw their consent; each has a hit before, and further ones after."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.newsletter = newsletter_key("default", "withdrawing")
        self.numbers = iter(range(10_000))
        self.withdrawn: list[tuple[int, bytes]] = []  # whose request was answered, and a message

    def _open(self, message: bytes, number: int) -> None:
        recipient = recipient_key(self.secret, "default", f"{number}@example.com")
        token = self.tokens.message(MessageToken(message, self.newsletter, recipient))
        assert self.service.client.get(f"/o/{token}.gif").status_code == 200

    def step(self) -> None:
        number, message = next(self.numbers), new_id()
        self._open(message, number)
        body = {"recipient": f"{number}@example.com"}
        answer = self.service.client.post("/v1/consent", json=body)
        assert answer.status_code == 200, answer.text
        self.withdrawn.append((number, message))
        self._open(message, number)

    def restarted(self) -> None:
        for number, message in self.withdrawn[-20:]:
            self._open(message, number)

    def check(self) -> None:
        counts = hits_by_message(self.service)
        assert self.withdrawn
        wrong = [number for number, message in self.withdrawn if counts.get(message.hex()) != 1]
        assert not wrong, "a hit after the withdrawal counted, or the one before it did not"


class BackingUp(Work):
    """Backups are made one after the other; those that are finished come back exact."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.files: list[Path] = []

    def step(self) -> None:
        path = self.service.data_dir.parent / f"{len(self.files)}.tar"
        self.files.append(path)
        done = run(self.service, "-m", "app", "backup", str(path))
        if done.returncode:
            assert not path.exists(), "half a backup"
            raise httpx2.TransportError(done.stderr)

    def restarted(self) -> None:
        assert not list(self.service.data_dir.glob("backup-*")), "a killed backup's folder is left"

    def finish(self) -> None:
        self.step()

    def check(self) -> None:
        """Restore the last backups: the very last one was not disturbed."""
        finished = [path for path in self.files if path.exists()]
        assert finished[-1] == self.files[-1]
        for path in finished[-3:]:
            self.service.env["MAILWAKE_DATA_DIR"] = str(path.with_suffix(""))
            done = run(self.service, "-m", "app", "restore", str(path))
            assert done.returncode == 0, done.stderr
            assert_verified(self.service)


class Expiring(Work):
    """Hits that are older than they are kept come in segments; only the figures keep them."""

    faults = LOCAL_RECEIVERS + EXPIRING
    env: Mapping[str, str] = {**WITH_HTTP, "MAILWAKE_KEEP_HITS_DAYS": "60"}

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.newsletter = newsletter_key("default", "expiring")
        self.sealed = 0

    def step(self) -> None:
        at = now_ms() - 200 * DAY_MS
        hits = [
            Hit("open", at + n, "default", self.newsletter, new_id(at + n).hex(), 7)
            for n in range(20)
        ]
        folder = self.service.data_dir / "journal"
        partial = folder / f"{uuid.UUID(bytes=new_id())}.part"
        partial.write_bytes(b"".join(map(encode, hits)))
        partial.rename(partial.with_suffix(".seg"))
        self.sealed += len(hits)
        time.sleep(0.05)

    def check(self) -> None:
        done = run(self.service, "-c", _EXPIRED, str(self.newsletter))
        assert done.returncode == 0, done.stderr
        *rolled_up, stored = [int(n) for n in done.stdout.strip()[1:-1].split(",")]
        assert rolled_up == [self.sealed] * 3 and stored < self.sealed


@contextmanager
def _going_on(work: Work) -> Iterator[None]:
    stop = threading.Event()
    failed: list[BaseException] = []

    def steps() -> None:
        try:
            while not stop.is_set():
                work.step()
        except httpx2.TransportError:
            pass  # the service is gone
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=steps)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert not failed, failed


def _subscribe(service: Service, there: Receiver) -> None:
    body = {"url": there.url, "newsletters": ["killed"], "types": ["message.clicked"]}
    answer = service.client.post("/v1/webhooks", json={**body, "when": "immediate"})
    assert answer.status_code == 200, answer.text


def _delivered(there: Receiver) -> dict[str, set[Any]]:
    """Returns the ids of clicks that were received, by message."""
    by_message: dict[str, set[Any]] = {}
    for received in there.events():
        event = received["data"]
        by_message.setdefault(uuid.UUID(event["message_id"]).hex, set()).add(event["id"])
    return by_message


@longer
@pytest.mark.parametrize("kind", [Withdrawing, BackingUp, Expiring])
def test_kills_while_it_works(tmp_path: Path, kind: type[Work]) -> None:
    with receiver() as there, Service(tmp_path / "data", kind.faults, **kind.env) as service:
        service.ready()
        work, load_ = kind(service), SeveralHits(service, "killed", pause=0.1)
        _subscribe(service, there)
        for number in range(KILLS):
            with load_.running(2), _going_on(work):
                load_.more(5)
                time.sleep(random.uniform(0, 1.5))
                service.kill()
            service.start()
            work.restarted()
            if number % 3 == 1:
                service.settled()
        verified(service)
        work.finish()
        answered = {message for message in load_.answered if load_.hits[message] == 3}
        service.wait_for(lambda: set(_delivered(there)) >= answered, "webhooks")
        service.stop()
        counts = hits_by_message(service)
        lost = {message: n for message, n in load_.hits.items() if counts.get(message, 0) < n}
        assert not lost, "hits were lost"
        clicks = _delivered(there)
        assert all(len(clicks[message]) >= 2 for message in answered)
        assert_verified(service)
        work.check()
