"""Messages and outcomes in the journal, for tests: written as requests write them, then loaded."""

import uuid
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from app.consent.suppression_rules import SuppressionRules
from app.events.feed import Cursor, Event, Feed
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key
from app.model.records import Message, Newsletter, Outcome, OutcomeKind, encode, now_ms
from app.outcomes.loading import OutcomeLoader
from app.stats.periods import ALWAYS
from app.stats.queries import Queries
from app.storage.clickhouse import Storage
from app.storage.state_db import open_state

WORKSPACE = "default"
_numbers = count(1)


class Mailing:
    """A newsletter of its own, whose journal a loader of its own takes to ClickHouse."""

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        rules: SuppressionRules = SuppressionRules(),  # noqa: B008
    ) -> None:
        self.folder, self.storage = folder / "journal", storage
        self.folder.mkdir(exist_ok=True)
        self.state: Engine = open_state(folder)
        self.feed = Feed(self.state)
        self.outcomes = OutcomeLoader(self.folder, storage, self.state, self.feed, lambda _: rules)
        self.loader = Loader(
            self.folder, storage, feed=self.feed, outcomes=self.outcomes, secret="secret"
        )
        self.id = f"mailing {uuid.uuid4().hex}"
        self.key = newsletter_key(WORKSPACE, self.id)
        self.queries = Queries(storage, WORKSPACE)
        self.load(encode(Newsletter(now_ms(), WORKSPACE, self.key, self.id)))

    def segment(self, *lines: bytes) -> Path:
        """Seal lines as a journal segment, which is not loaded yet."""
        path = self.folder / f"{uuid.UUID(bytes=new_id())}.seg"
        path.write_bytes(b"".join(lines))
        return path

    def load(self, *lines: bytes) -> None:
        self.segment(*lines)
        self.loader.load_all()

    def states(self) -> dict[str, int]:
        """How many messages are in each state."""
        rows = self.queries.run(
            "newsletter_outcomes", newsletters=[self.key], variant="", **ALWAYS.parameters
        )
        return {row["state"]: row["messages"] for row in rows}

    def events(self) -> list[Event]:
        events, _ = self.feed.after(self.feed_start, WORKSPACE, 10_000)
        return events

    @property
    def feed_start(self) -> Any:

        return Cursor()

    def event_types(self) -> Counter[str]:
        return Counter(event.type for event in self.events())


def sent(mailing: Mailing, recipient: int = 7, at: int | None = None, **more: Any) -> Message:
    """A message that was sent to a recipient, by its key; pass it to `encode`."""
    at = now_ms() if at is None else at
    address = f"{recipient}@example.com"
    return Message(at, WORKSPACE, mailing.key, new_id(at).hex(), recipient, address, **more)


def outcome(
    kind: OutcomeKind,
    of: Message | None = None,
    event: str = "",
    at: int | None = None,
    **more: Any,
) -> bytes:
    """The line of a report about a message, under an id of its own."""
    now = now_ms()
    named: dict[str, Any] = {"message": of.message} if of else {}
    event = event or f"event {next(_numbers)} {uuid.uuid4().hex}"
    return encode(Outcome(now if at is None else at, now, WORKSPACE, event, kind, **named, **more))
