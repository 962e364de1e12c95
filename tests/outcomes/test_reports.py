import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.errors import FieldError
from app.model.ids import newsletter_key, recipient_key
from app.model.records import decode
from app.outcomes.reports import OutcomeReports, masked
from app.schemas.outcomes import OutcomeIn
from app.storage.journal import Journal, JournalError
from app.tasks import Tasks

ID = "0192f3c4-a5b6-7c8d-9e0f-1a2b3c4d5e6f"


@pytest.fixture
def reports(tmp_path: Path) -> OutcomeReports:
    return OutcomeReports("shop", "secret", Journal(tmp_path))


def report(**fields: Any) -> OutcomeIn:
    some = {"id": "e", "type": "sent", "occurred_at": "2026-01-01T00:00:00.5Z", **fields}
    return msgspec.convert(some, OutcomeIn)


def test_a_record_has_keys_for_names(reports: OutcomeReports) -> None:
    record = reports.record(report(recipient=" Ann@Example.com", newsletter="n"))
    assert record.recipient == recipient_key("secret", "shop", "ann@example.com")
    assert record.newsletter == newsletter_key("shop", "n")
    assert (record.at, record.event, record.kind) == (1767225600500, "e", "sent")
    assert reports.record(report(message_id=ID)).message == ID.replace("-", "")
    assert reports.record(report(message_id=ID.upper().replace("-", ""))).message[:4] == "0192"
    named = reports.record(report(rfc_message_id="<a@b>", recipient="Ann@example.com"))
    assert (named.rfc_message_id, named.recipient) == ("a@b", record.recipient)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "message_id"),
        ({"recipient": "a@b"}, "newsletter"),
        ({"newsletter": "n"}, "recipient"),
        ({"message_id": ID, "rfc_message_id": "a@b"}, "rfc_message_id"),
        ({"message_id": ID, "newsletter": "n", "recipient": "a"}, "newsletter"),
        ({"message_id": ID, "recipient": "a"}, "recipient"),
        ({"rfc_message_id": "a@b", "newsletter": "n"}, "newsletter"),
        ({"message_id": ID, "type": "bounced"}, "permanent"),
        ({"message_id": ID, "permanent": True}, "permanent"),
        ({"message_id": ID, "occurred_at": "1999-12-31T23:59:59Z"}, "occurred_at"),
        (
            {"message_id": ID, "occurred_at": datetime.now(UTC) + timedelta(days=2)},
            "occurred_at",
        ),
    ],
)
def test_contradictions_name_their_field(
    reports: OutcomeReports, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldError) as error:
        reports.record(report(**fields))
    assert error.value.field == field


def test_records_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    async def written(max_bytes: int) -> list[object]:
        journal = Journal(tmp_path / str(max_bytes), max_bytes=max_bytes)
        reports, tasks = OutcomeReports("shop", "secret", journal), Tasks()
        journal.start(tasks)
        try:
            records = [reports.record(report(id=str(n), message_id=ID)) for n in range(20)]
            await reports.write(records)
            await reports.write([])
        finally:
            await journal.close()
        (segment,) = journal.folder.glob("*.seg")
        lines = segment.read_bytes().splitlines()[:20]
        assert [decode(line) for line in lines] == records
        return list(lines)

    assert len(asyncio.run(written(10**6))) == 20
    with pytest.raises(JournalError):
        asyncio.run(written(1000))
    assert list((tmp_path / "1000").glob("*.seg")) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 5.1.1 <ann@example.com>: no such user", "550 5.1.1 <***@example.com>: no such user"),
        ("rfc822;Ann.B+x@example.com\r\n unknown", "rfc822;***@example.com   unknown"),
        ('"ann b"@example.com is full', "***@example.com is full"),
        ("at noon @ home", "at noon @ home"),
        ("@a@b@example.com", "@***@example.com"),
        ('"a b"@c@example.com, d@@example.com', "***@example.com, d@@example.com"),
        ("", ""),
    ],
)
def test_text_of_servers_has_no_email_address(text: str, shown: str) -> None:
    assert " ".join(masked(text).split()) == " ".join(shown.split())


@pytest.mark.parametrize("piece", ["a", "a@", "@", '"', '"a', " ", "a.", "\\"])
def test_the_time_to_mask_grows_with_the_text(piece: str) -> None:
    """Of a pattern that looks again and again, 16 times the text would take 256 times the work."""
    text = piece * (200_000 // len(piece))
    assert masked(text) == ("***@a@" if piece == "a@" else text.strip())  # a row of them is one


@given(st.text())
def test_whatever_a_server_says_is_one_line(text: str) -> None:
    shown = masked(text)
    assert not any(ord(character) < 32 for character in shown)
    assert masked(shown) == shown
