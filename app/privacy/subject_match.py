"""Finds what identifies persons in the data that is kept outside ClickHouse."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from sqlalchemy import Engine, Row, select

from app.model.ids import recipient_key
from app.storage.tables import deliveries, webhooks

PAGE_ROWS = 500  # deliveries read together


def spellings(address: str) -> tuple[str, ...]:
    """Returns an email address in lower case as mailers put it into URLs.

    These are itself, the usual hashes in hexadecimal (avatars and newsletter links carry MD5,
    advertisers SHA-256), and base64 without padding, also with the alphabet for URLs (RFC 4648).
    """
    if not address:
        return ()
    raw = address.encode()
    hashes = (hashlib.new(name, raw, usedforsecurity=False) for name in ("md5", "sha1", "sha256"))
    encoded = (base64.b64encode(raw), base64.urlsafe_b64encode(raw))
    texts = (text.decode().rstrip("=") for text in encoded)
    return tuple(dict.fromkeys([address, *(hash_.hexdigest() for hash_ in hashes), *texts]))


class SubjectMatcher(NamedTuple):
    """Matches persons of one workspace: by their keys, and by their email addresses in any text."""

    workspace: str
    keys: frozenset[int]
    addresses: tuple[str, ...]  # in lower case
    secret: str  # for the workspace's recipient keys

    @property
    def names(self) -> re.Pattern[bytes]:
        """Returns a pattern that matches a spelling of an email address, also percent-encoded."""
        return re.compile(b"|".join(map(re.escape, self.forms)) or b"(?!)", re.IGNORECASE)

    @property
    def forms(self) -> list[bytes]:
        """Returns the spellings of email addresses in lower case, also percent-encoded."""
        spelt = {
            form.lower().encode()
            for address in self.addresses
            for spelling in spellings(address)
            for form in (spelling, quote(spelling, safe=""))
        }
        return sorted(spelt)

    @property
    def words(self) -> re.Pattern[bytes]:
        """Returns a pattern that matches an email address or a key."""
        keys = [rb"(?<!\d)%d(?!\d)" % key for key in sorted(self.keys)]
        return re.compile(b"|".join([self.names.pattern, *keys]), re.IGNORECASE)


def deliveries_of(engine: Engine, marks: SubjectMatcher) -> Iterator[Row[Any]]:
    """Yields rows of deliveries, with `url`, that send or have sent a webhook data about them."""
    table, names = deliveries.c, marks.names
    for first in numbers(engine, table.id, PAGE_ROWS):
        with engine.connect() as connection:
            rows = connection.execute(
                select(deliveries, webhooks.c.url)
                .join(webhooks, webhooks.c.id == table.webhook)
                .where(webhooks.c.workspace == marks.workspace, table.state != "erased")
                .where(table.id >= first, table.id < first + PAGE_ROWS)
                .order_by(table.id)
            ).fetchall()
        for row in rows:
            if names.search(row.body) or _is_about(msgspec.json.decode(row.body), marks):
                yield row


def _is_about(body: Mapping[str, Any], marks: SubjectMatcher) -> bool:
    """Returns whether the body's recipient is one of them, in any spelling of the email address."""
    recipient = body.get("data", {}).get("recipient")
    return bool(recipient) and recipient_key(marks.secret, marks.workspace, recipient) in marks.keys


def numbers(engine: Engine, column: Any, step: int = 1) -> Iterator[int]:
    """Yields a table's ids, or the first of each `step`, without locking the table meanwhile."""
    last = -1
    while True:
        with engine.connect() as connection:
            number = connection.execute(
                select(column).where(column > last).order_by(column).limit(1)
            ).scalar()
        if number is None:
            return
        yield number
        last = number + step - 1
