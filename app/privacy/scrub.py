"""Removes persons from what DATA_DIR holds outside ClickHouse: state.db and files.

Each step may be interrupted and repeated. Blocking.
"""

import re
import shutil
import time
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec
from sqlalchemy import Engine, delete, select, text, update

from app.messages.templates import SampleMail
from app.model.errors import UNREADABLE
from app.model.records import BLANK, NOBODY
from app.privacy.subject_match import SubjectMatcher, deliveries_of, numbers
from app.storage import newsletters, segment_register
from app.storage.clickhouse import EXPORT_PREFIX
from app.storage.state_db import StateError
from app.storage.tables import (
    answered,
    deliveries,
    feed,
    followup_recipients,
    followups,
    segments,
    signed,
)

BUSY_SECONDS = 30.0  # seconds for which readers of state.db are waited for
EXPORT_SECONDS = 30.0  # seconds for which an export in progress is waited for
ABANDONED_SECONDS = 3600.0  # seconds after which a backup's folder is abandoned
_RECIPIENT = re.compile(rb'"recipient":\s*(\d+)')  # in a line of the feed
GONE = "the recipient was erased"
# Values of a row of `messages` that no longer identifies a recipient, as erase_messages.sql sets.
NOBODYS_MESSAGE = {"recipient": NOBODY, "address": "", "metadata": {}, "rfc_message_id": ""}
# The same of `outcomes`, as erase_outcomes.sql sets.
NOBODYS_OUTCOME = {"recipient": NOBODY, "text": "", "event_id": "", "rfc_message_id": ""}


def scrub_feed(engine: Engine, marks: SubjectMatcher) -> int:
    """Anonymise their lines; returns how many there were."""
    count, keys = 0, {b"%d" % key for key in marks.keys}
    for seq in numbers(engine, feed.c.seq):
        with engine.begin() as connection:
            packed = connection.execute(select(feed.c.rows).where(feed.c.seq == seq)).scalar()
            content = zlib.decompress(packed) if packed else b""
            if keys.isdisjoint(_RECIPIENT.findall(content)):
                continue
            lines = content.splitlines()
            theirs = [
                number
                for number, line in enumerate(lines)
                if not keys.isdisjoint(_RECIPIENT.findall(line))
                and msgspec.json.decode(line)["workspace"] == marks.workspace
            ]
            for number in theirs:
                row = msgspec.json.decode(lines[number])
                blanks = NOBODYS_OUTCOME if "event" in row else BLANK
                blank = {name: value for name, value in blanks.items() if name in row}
                lines[number] = msgspec.json.encode({**row, **blank})
            packed = zlib.compress(b"\n".join(lines) + b"\n", 1)
            connection.execute(update(feed).where(feed.c.seq == seq).values(rows=packed))
            count += len(theirs)
    return count


def scrub_segments(engine: Engine, marks: SubjectMatcher) -> int:
    """Anonymise their messages in what is kept of journal segments; returns how many rows.

    Other rows that name them are not kept any longer.
    """
    count, names, forms = 0, marks.names, marks.forms
    keys = {b"%d" % key for key in marks.keys}
    with engine.connect() as connection:
        kept = connection.execute(select(segments.c.id).where(segments.c.rows != b"")).fetchall()
    for (segment_id,) in kept:
        with engine.begin() as connection:
            mine = segments.c.id == segment_id
            packed = connection.execute(select(segments.c.rows).where(mine)).scalar()
            tables, changed = segment_register.unpack(packed or b""), 0
            for table, content in tables.items():
                lowered = content.lower()  # far quicker than the pattern
                if not any(form in lowered for form in forms) and keys.isdisjoint(
                    _RECIPIENT.findall(content)
                ):
                    continue
                lines = content.splitlines(keepends=True)
                scrubbed = [_scrubbed(line, marks, names) for line in lines]
                changed += sum(old != new for old, new in zip(lines, scrubbed, strict=True))
                tables[table] = b"".join(scrubbed)
            if changed:
                packed = segment_register.pack(tables)
                connection.execute(update(segments).where(mine).values(rows=packed))
            count += changed
    return count


def _scrubbed(line: bytes, marks: SubjectMatcher, names: re.Pattern[bytes]) -> bytes:
    """Returns a row without the person; empty if it is about something else that names them."""
    recipients = {int(key) for key in _RECIPIENT.findall(line)}
    if not recipients.isdisjoint(marks.keys):
        row = msgspec.json.decode(line)
        if row["workspace"] == marks.workspace:
            blank = NOBODYS_OUTCOME if "event" in row else NOBODYS_MESSAGE
            return msgspec.json.encode({**row, **blank}) + b"\n"
    return b"" if names.search(line) else line


def scrub_deliveries(engine: Engine, marks: SubjectMatcher) -> int:
    """Empty their deliveries, of which waiting ones are never sent; returns how many there were."""
    count = 0
    for row in deliveries_of(engine, marks):
        body = msgspec.json.decode(row.body)
        empty = {"type": body["type"], "timestamp": body["timestamp"], "data": {}}
        # A follow-up's id contains the recipient's key.
        event = f"fup_erased_{row.id}" if row.event.startswith("fup_") else row.event
        with engine.begin() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row.id)
                .values(
                    state="erased",
                    due=None,
                    error=GONE,
                    event=event,
                    body=msgspec.json.encode(empty),
                )
            )
        count += 1
    return count


def scrub_followed(engine: Engine, marks: SubjectMatcher) -> int:
    """Delete the records that they were followed up or answered; returns how many there were."""
    rules = select(followups.c.id).where(followups.c.workspace == marks.workspace)
    keys = [signed(key) for key in marks.keys]
    with engine.begin() as connection:
        followed = connection.execute(
            delete(followup_recipients).where(
                followup_recipients.c.recipient.in_(keys),
                followup_recipients.c.followup.in_(rules),
            )
        )
        had = connection.execute(
            delete(answered).where(
                answered.c.workspace == marks.workspace, answered.c.recipient.in_(keys)
            )
        )
    return int(followed.rowcount) + int(had.rowcount)


def scrub_files(data_dir: Path, marks: SubjectMatcher) -> int:
    """Remove them from .bad files, samples, exports and backups; returns how many files.

    A template is the mailer's own text for all recipients and stays as it is.
    """
    count, words, names = 0, marks.words, marks.names
    for path in (data_dir / "journal").glob("*.bad"):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not words.search(line)]
        if len(kept) < len(lines):
            partial = path.with_suffix(".tmp")
            partial.write_bytes(b"".join(kept))
            partial.replace(path)
            count += 1
    for path in (data_dir / "templates").rglob("*"):
        if path.suffix == ".json" or not path.is_file():
            continue
        content = path.read_bytes()
        if names.search(content) or (path.suffix == ".sample" and _is_theirs(content, marks)):
            path.unlink(missing_ok=True)
            count += 1
    for path in (data_dir / newsletters.FOLDER).glob("*.json"):
        if names.search(path.read_bytes()):
            path.unlink(missing_ok=True)
            count += 1
    return count + _drop_left(data_dir)


def _is_theirs(content: bytes, marks: SubjectMatcher) -> bool:
    """Returns whether a sample was one of their mails, or does not say whose it was."""
    try:
        recipient = msgspec.json.decode(content, type=SampleMail).recipient
    except UNREADABLE:
        return True
    return not recipient or recipient in marks.keys


def _drop_left(data_dir: Path) -> int:
    """Delete exports that a killed process has left; one in progress ends by itself."""
    exports, end = set(data_dir.glob(f"{EXPORT_PREFIX}*")), time.monotonic() + EXPORT_SECONDS
    while any(map(_grows, exports)) and time.monotonic() < end:
        time.sleep(0.1)
    paths = [path for path in exports if path.exists()]
    paths += [path for path in data_dir.glob("backup-*") if _age(path) > ABANDONED_SECONDS]
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    return len(paths)


def _grows(folder: Path) -> bool:
    with suppress(FileNotFoundError):  # it has just ended
        return any(_age(file) < EXPORT_SECONDS for file in folder.iterdir())
    return False


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def compact(engine: Engine, whole: bool) -> None:
    """Remove every byte of deleted data from state.db. Raises StateError.

    `whole` rewrites the file: data may have been written before deletions were set to overwrite it.
    """
    if engine.dialect.name != "sqlite":
        return  # PostgreSQL's autovacuum overwrites them in its own time
    end = time.monotonic() + BUSY_SECONDS
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if whole:
            connection.execute(text("VACUUM"))
        while connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).scalar():
            if time.monotonic() > end:
                raise StateError("state.db is in use, so its log still contains old pages")
            time.sleep(0.1)
