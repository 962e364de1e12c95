"""Finds the recorded messages that outcomes are about.

A report names its message by our id, by the Message-ID (RFC 5322) or by recipient and newsletter.
Messages are looked up when reports are loaded, so a report is accepted while ClickHouse is
unavailable. A report whose message is not recorded yet, because another process wrote both, is
matched later.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from msgspec.structs import replace

from app.model.ids import sent_at
from app.outcomes.rows import NO_MESSAGE, OutcomeRow
from app.storage.clickhouse import Storage
from app.storage.sql import sql

REPORTS = 2_000  # in one query
DAY_MS = 86_400_000
# A mail may bounce, or a mailer report, long after it was sent. Most do so soon: a short period
# reads far fewer of the recorded messages.
PERIODS_MS = (2 * DAY_MS, 60 * DAY_MS)
SLACK_MS = 300_000  # by which the reporter's clock may be behind
CLOCK_MS = 1_000  # between a message's id and its time
MAX_AT_MS = 2**42  # the year 2109, which ClickHouse's times reach


class _Recorded(NamedTuple):
    newsletter: int
    message: str
    recipient: int
    variant: int
    rfc_message_id: str
    at_ms: int


def matched(storage: Storage, rows: Iterable[OutcomeRow]) -> list[OutcomeRow]:
    """Returns the rows in their order, with the messages that are recorded. Raises StorageError."""
    result = list(rows)
    for is_named_so, match in (
        (_has_id, _by_id),
        (_has_rfc_message_id, _by_rfc_message_id),
        (_has_recipient, _by_recipient),
    ):
        places = [n for n, row in enumerate(result) if not row.is_matched and is_named_so(row)]
        for some in _batches(result, places):
            found = match(storage, [result[n] for n in some])
            for n, message in zip(some, found, strict=True):
                if message:
                    result[n] = _with_message(result[n], message)
    return result


def _has_id(row: OutcomeRow) -> bool:
    return row.message != NO_MESSAGE


def _has_rfc_message_id(row: OutcomeRow) -> bool:
    return not _has_id(row) and row.rfc_message_id != ""


def _has_recipient(row: OutcomeRow) -> bool:
    named_otherwise = _has_id(row) or row.rfc_message_id != ""
    return not named_otherwise and row.recipient != 0 and row.stated_newsletter != 0


def _batches(rows: Sequence[OutcomeRow], places: Iterable[int]) -> Iterator[list[int]]:
    """Yields places of rows of one workspace that are near in time, for one query each."""

    def workspace(place: int) -> str:
        return rows[place].workspace

    def order(place: int) -> tuple[str, int]:
        row = rows[place]
        return row.workspace, sent_at(row.message) if _has_id(row) else int(row.at * 1000)

    for _, group in groupby(sorted(places, key=order), workspace):
        own = list(group)
        for first in range(0, len(own), REPORTS):
            yield own[first : first + REPORTS]


def _by_id(storage: Storage, rows: Sequence[OutcomeRow]) -> list[_Recorded | None]:
    times = [sent_at(row.message) for row in rows]
    found = _recorded(
        storage,
        "match_by_message",
        rows,
        min(times) - CLOCK_MS,
        max(times) + CLOCK_MS,
        messages=sorted({row.message for row in rows}),
    )
    by_id = {message.message: message for message in found}
    return [by_id.get(row.message) for row in rows]


def _by_rfc_message_id(storage: Storage, rows: Sequence[OutcomeRow]) -> list[_Recorded | None]:
    """Match by Message-ID; of several copies, only the recipient's own."""

    def look_up(unmatched: Sequence[OutcomeRow], from_ms: int, to_ms: int) -> list[_Recorded]:
        ids = sorted({row.rfc_message_id for row in unmatched})
        return _recorded(storage, "match_by_rfc", unmatched, from_ms, to_ms, rfc_message_ids=ids)

    def choose(row: OutcomeRow, found: Sequence[_Recorded]) -> _Recorded | None:
        copies = [message for message in found if message.rfc_message_id == row.rfc_message_id]
        if row.recipient:
            copies = [message for message in copies if message.recipient == row.recipient]
        return copies[0] if len({message.message for message in copies}) == 1 else None

    return _in_periods(rows, look_up, choose)


def _by_recipient(storage: Storage, rows: Sequence[OutcomeRow]) -> list[_Recorded | None]:
    """Match with the latest message of the newsletter to the recipient, as of the report's time."""

    def look_up(unmatched: Sequence[OutcomeRow], from_ms: int, to_ms: int) -> list[_Recorded]:
        newsletters = sorted({row.stated_newsletter for row in unmatched})
        recipients = sorted({row.recipient for row in unmatched})
        return _recorded(
            storage,
            "match_by_recipient",
            unmatched,
            from_ms,
            to_ms,
            newsletters=newsletters,
            recipients=recipients,
        )

    def choose(row: OutcomeRow, found: Sequence[_Recorded]) -> _Recorded | None:
        until = row.at * 1000 + SLACK_MS
        theirs = [
            message
            for message in found
            if (message.newsletter, message.recipient) == (row.stated_newsletter, row.recipient)
            and message.at_ms <= until
        ]
        return max(theirs, key=lambda message: (message.at_ms, message.message), default=None)

    return _in_periods(rows, look_up, choose)


def _in_periods(
    rows: Sequence[OutcomeRow],
    look_up: Callable[[Sequence[OutcomeRow], int, int], list[_Recorded]],
    choose: Callable[[OutcomeRow, Sequence[_Recorded]], _Recorded | None],
) -> list[_Recorded | None]:
    """Returns each row's message, first looked for among those sent shortly before."""
    result: list[_Recorded | None] = [None] * len(rows)
    for period_ms in PERIODS_MS:
        left = [n for n, message in enumerate(result) if message is None]
        if not left:
            break
        unmatched = [rows[n] for n in left]
        # A mail server's clock may be wrong by any time: when it was reported, we know.
        times = [int(time * 1000) for row in unmatched for time in (row.at, row.received)]
        found = look_up(unmatched, min(times) - period_ms, max(times) + SLACK_MS)
        by_name: dict[object, list[_Recorded]] = {}
        for message in found:
            for name in (message.rfc_message_id, (message.newsletter, message.recipient)):
                by_name.setdefault(name, []).append(message)
        for n, row in zip(left, unmatched, strict=True):
            name = row.rfc_message_id or (row.stated_newsletter, row.recipient)
            result[n] = choose(row, by_name.get(name, ()))
    return result


def _recorded(
    storage: Storage,
    query: str,
    rows: Sequence[OutcomeRow],
    from_ms: int,
    to_ms: int,
    **names: Any,
) -> list[_Recorded]:
    them = {
        "workspace": rows[0].workspace,
        "from_ms": min(max(from_ms, 0), MAX_AT_MS),
        "to_ms": min(max(to_ms, 0), MAX_AT_MS),
    }
    return [
        _Recorded(
            int(row["newsletter"]),
            row["message"].hex,
            int(row["recipient"]),
            int(row["variant"]),
            row["rfc_message_id"],
            int(row["at_ms"]),
        )
        for row in storage.query(sql(query), {**them, **names})
    ]


def _with_message(row: OutcomeRow, message: _Recorded) -> OutcomeRow:
    """Returns a row with its message. One of an erased person has no recipient."""
    return replace(
        row,
        newsletter=message.newsletter,
        message=message.message,
        recipient=message.recipient,
        variant=message.variant,
    )
