"""Stores follow-ups: rules that post to a webhook once for each recipient.

A rule is about recipients who did something, or did not. A follow-up becomes a delivery in the
commit that records its recipient and moves the rule's cursor, so a crash neither loses nor repeats
one.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Engine, delete, func, literal, select, update
from sqlalchemy import insert as new
from sqlalchemy.dialects.postgresql import insert

from app.consent import erasure_requests
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.signing import sent_as
from app.events.webhooks import queue
from app.model.errors import FieldError
from app.schemas.events import (
    Due,
)
from app.storage.row_limits import limit_reached
from app.storage.tables import followup_recipients, followups, signed

TYPE = "followup.due"
MAX_HOURS = 720
MAX_FOLLOWUPS = 100  # of a workspace


class Rule(Struct, frozen=True, forbid_unknown_fields=True, rename={"filter": "wanted"}):
    """When to follow up; an empty field of `filter` matches everything.

    `clicked`: a person clicked such a link. `not_opened`: no person opened or clicked within
    `after_hours` after the message was sent. `not_clicked`: no person clicked.
    """

    when: Literal["clicked", "not_opened", "not_clicked"]
    after_hours: Annotated[float, Meta(ge=0, le=MAX_HOURS)] = 0
    filter: EventFilter = EventFilter()  # stored as `wanted`


class Sent(NamedTuple):
    """How far a rule has read the messages: time in ms since 1970 UTC, and message id."""

    ms: int
    message: str = "00000000-0000-0000-0000-000000000000"


class FollowUp(NamedTuple):
    """A rule and its progress. `made` counts its follow-ups; `at` is in seconds since 1970 UTC."""

    id: str
    name: str
    webhook: str
    rule: Rule
    at: float
    cursor: Cursor
    sent: Sent
    made: int


class FollowUps:
    """The rules of one workspace. Blocking: call from threads."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace

    def add(self, name: str, webhook: str, rule: Rule, at: Cursor) -> FollowUp:
        """Add a rule: for clicks after a cursor, or messages whose time is over from now on.

        Raises FieldError for one too many.
        """
        now = time.time()
        sent = Sent(int((now - rule.after_hours * 3600) * 1000))
        followup = FollowUp(
            id=f"fu_{secrets.token_hex(8)}",
            name=name,
            webhook=webhook,
            rule=rule,
            at=now,
            cursor=at,
            sent=sent,
            made=0,
        )
        with self._engine.begin() as connection:
            if problem := limit_reached(connection, followups, self._workspace, MAX_FOLLOWUPS):
                raise FieldError("name", f"no further follow-up can be added: {problem}")
            connection.execute(
                new(followups).values(
                    id=followup.id,
                    workspace=self._workspace,
                    name=name,
                    webhook=webhook,
                    rule=msgspec.json.encode(rule),
                    at=now,
                    seq=at.seq,
                    line=at.line,
                    sent_ms=sent.ms,
                    sent_message=sent.message,
                )
            )
        return followup

    def all(self, counted: bool = True) -> list[FollowUp]:
        """Returns all, the oldest first. Counting may be slow; without it, `made` is 0."""
        count: ColumnElement[int] = literal(0).label("made")
        if counted:
            of = select(func.count()).where(followup_recipients.c.followup == followups.c.id)
            count = of.scalar_subquery().label("made")
        query = select(followups, count).where(followups.c.workspace == self._workspace)
        with self._engine.connect() as connection:
            return [
                FollowUp(
                    id=row.id,
                    name=row.name,
                    webhook=row.webhook,
                    rule=msgspec.json.decode(row.rule, type=Rule),
                    at=row.at,
                    cursor=Cursor(row.seq, row.line),
                    sent=Sent(row.sent_ms, row.sent_message),
                    made=row.made,
                )
                for row in connection.execute(query.order_by(followups.c.at))
            ]

    def get(self, followup_id: str) -> FollowUp | None:
        """Returns a rule, or None if there is none."""
        return next((followup for followup in self.all() if followup.id == followup_id), None)

    def remove(self, followup_id: str) -> None:
        """Delete a rule. Follow-ups that are already queued are still sent."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(followups).where(
                    followups.c.id == followup_id, followups.c.workspace == self._workspace
                )
            )

    def enqueue(
        self,
        followup: FollowUp,
        due: Sequence[tuple[int, Due]],
        cursor: Cursor,
        to: Sent,
        seen: int = 0,
    ) -> int:
        """Queue what is due, by recipients' keys, and move the cursor; returns how many.

        This is one commit. Raises ErasedError, and changes nothing, if somebody was erased since
        `seen`.
        """
        now, count = time.time(), 0
        with self._engine.begin() as connection:
            connection.execute(
                update(followups)
                .where(followups.c.id == followup.id)
                .values(seq=cursor.seq, line=cursor.line, sent_ms=to.ms, sent_message=to.message)
            )
            erasure_requests.check(connection, seen)
            for recipient, what in due:
                first = connection.execute(
                    insert(followup_recipients)
                    .values(followup=followup.id, recipient=signed(recipient), at=now)
                    .on_conflict_do_nothing()
                )
                if first.rowcount:
                    body = sent_as(what.type, what.occurred_at, what)
                    count += queue(connection, followup.webhook, what.id, body, now)
        return count


def due_id(followup_id: str, recipient: int) -> str:
    """Returns the id of a follow-up: always the same for a rule and a recipient."""
    return f"fup_{followup_id.removeprefix('fu_')}_{recipient:016x}"
