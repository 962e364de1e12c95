"""Exports all data about one person of a workspace as one JSON document.

It serves the rights of access and portability (GDPR, articles 15 and 20). It streams: a document of
any length needs little memory. Copies of hits and messages, in the feed and in the register of
journal segments, are not exported twice.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Engine, select

from app.experiments.variants import Variants
from app.model.ids import recipient_key
from app.model.tracking_modes import all_keys_of
from app.privacy.subject_match import SubjectMatcher, deliveries_of
from app.schemas.timestamps import Timestamp, timestamp
from app.stats.queries import Queries
from app.storage.tables import (
    erasures,
    followup_recipients,
    followups,
    signed,
    suppressions,
    unsigned,
    withdrawals,
)

_encode = msgspec.json.encode


class SubjectExport:
    """Exports subjects of one workspace. Blocking.

    `secret` is for keys of recipients, `service` for their pseudonyms.
    """

    def __init__(self, engine: Engine, queries: Queries, secret: str, service: str) -> None:
        self._engine, self._queries, self._secret = engine, queries, secret
        self._service, self._variants = service, Variants(engine, queries.workspace)
        self._workspace = queries.workspace

    def of(self, address: str) -> Iterator[bytes]:
        """Yields the document about an email address. Raises StorageError."""
        key = recipient_key(self._secret, self._workspace, address)
        spelt = address.strip().lower()
        marks = SubjectMatcher(self._workspace, frozenset({key}), (spelt,), self._secret)
        # All queries begin before anything is sent: if ClickHouse is unavailable, or lacks tables,
        # the answer is an error and not a document that breaks off.
        messages = _fetch_first(
            self._queries.stream("subject_messages", "JSONEachRow", recipient=key)
        )
        newsletters = [row["newsletter"] for row in self._queries.run("erase_pseudonymous")]
        known = sorted(all_keys_of(self._service, newsletters, key))
        of = {"recipients": known, "newsletters": []}
        hits = _fetch_first(self._queries.stream("subject_hits", "JSONEachRow", **of))
        outcomes = _fetch_first(
            self._queries.stream("subject_outcomes", "JSONEachRow", recipient=key)
        )
        head = {
            "workspace": self._workspace,
            "recipient": spelt,
            "recipient_key": f"{key:016x}",
            "exported_at": timestamp(datetime.now(UTC)),
            "erased_at": self._erased(key),
        }
        yield _encode(head)[:-1]
        yield from _listed("messages", map(self._with_variant, _lines(messages)))
        yield from _listed("hits", map(self._with_variant, _lines(hits)))
        yield from _listed("outcomes", _lines(outcomes))
        yield from _listed("followups", map(_encode, self._followups(key)))
        yield from _listed("suppressions", map(_encode, self._suppressions(key)))
        yield from _listed("withdrawals", map(_encode, self._withdrawals(key)))
        yield from _listed(
            "deliveries", (_delivery(row) for row in deliveries_of(self._engine, marks))
        )
        yield b"}\n"

    def _erased(self, key: int) -> Timestamp | None:
        table = erasures.c
        rows = self._rows(
            select(table.at).where(
                table.workspace == self._workspace, table.recipient == signed(key)
            )
        )
        return timestamp(rows[0].at) if rows else None

    def _followups(self, key: int) -> list[dict[str, Any]]:
        rows = self._rows(
            select(followups.c.id, followups.c.name, followup_recipients.c.at)
            .join(followups, followups.c.id == followup_recipients.c.followup)
            .where(
                followups.c.workspace == self._workspace,
                followup_recipients.c.recipient == signed(key),
            )
            .order_by(followup_recipients.c.at)
        )
        return [{"followup_id": row.id, "name": row.name, "at": timestamp(row.at)} for row in rows]

    def _suppressions(self, key: int) -> list[dict[str, Any]]:
        table = suppressions.c
        rows = self._rows(
            select(table.newsletter, table.reason, table.at)
            .where(table.workspace == self._workspace, table.recipient == signed(key))
            .order_by(table.id)
        )
        return [
            {
                "newsletter_id": self._named(row.newsletter),
                "reason": row.reason,
                "at": timestamp(row.at),
            }
            for row in rows
        ]

    def _withdrawals(self, key: int) -> list[dict[str, Any]]:
        table = withdrawals.c
        rows = self._rows(
            select(table.newsletter, table.axis, table.at)
            .where(table.workspace == self._workspace, table.recipient == signed(key))
            .order_by(table.id)
        )
        return [
            {
                "newsletter_id": self._named(row.newsletter),
                "axis": row.axis,
                "at": timestamp(row.at),
            }
            for row in rows
        ]

    def _with_variant(self, line: bytes) -> bytes:
        """Returns the line of a message or hit with its variant's name, or null, for the number."""
        row = msgspec.json.decode(line)
        newsletter = self._queries.key(row["newsletter_id"])
        return _encode({**row, "variant": self._variants.name(newsletter, row["variant"]) or None})

    def _named(self, newsletter: int) -> str | None:
        """Returns the newsletter's id; None means every newsletter."""
        key = unsigned(newsletter)
        if not key:
            return None
        rows = self._queries.run("event_newsletters", newsletters=[key])
        return str(rows[0]["id"]) if rows else f"{key:016x}"

    def _rows(self, query: Any) -> Sequence[Any]:
        with self._engine.connect() as connection:
            return connection.execute(query).fetchall()


def _delivery(row: Any) -> bytes:
    return _encode(
        {
            "webhook_url": row.url,
            "event_id": row.event,
            "state": row.state,
            "at": timestamp(row.at),
            "body": msgspec.Raw(row.body),
        }
    )


def _listed(name: str, values: Iterable[bytes]) -> Iterator[bytes]:
    yield b',"%s":[' % name.encode()
    for number, value in enumerate(values):
        yield (b",\n" if number else b"\n") + value
    yield b"]"


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields whole lines of bytes that come in any pieces."""
    rest = b""
    for part in chunks:
        *lines, rest = (rest + part).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _fetch_first(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Fetch the first part now and return all parts."""
    return chain([next(chunks, b"")], chunks)
