"""Follow-ups: rules that post to a webhook once for each recipient, when something was done or not.

A follow-up becomes a delivery in the commit that notes whom it was for and moves the rule on, so a
crash neither loses nor repeats one.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Engine, delete, func, literal, select, update
from sqlalchemy import insert as new
from sqlalchemy.dialects.sqlite import insert

from app.consent import erasure_requests
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.signing import sent_as
from app.events.webhooks import queue
from app.schemas.events import (
    Due,
)
from app.storage.tables import followup_recipients, followups, signed

TYPE = "followup.due"
MOST_HOURS = 720


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """When to follow up; of `wanted`, what is empty asks for all.

    `clicked`: a person clicked such a link. `not_opened`: no person opened or clicked `after_hours`
    after the message was sent; `not_clicked`: none clicked.
    """

    when: Literal["clicked", "not_opened", "not_clicked"]
    after_hours: Annotated[float, Meta(ge=0, le=MOST_HOURS)] = 0
    wanted: EventFilter = EventFilter()


class Sent(NamedTuple):
    """Up to which message of the ledger a rule has looked: milliseconds since 1970 UTC, and id."""

    ms: int
    message: str = "00000000-0000-0000-0000-000000000000"


class FollowUp(NamedTuple):
    """A rule and how far it has got. `made` counts follow-ups; `at` is in seconds since 1970."""

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
        """A new one: of clicks after a cursor, or of messages whose time is over from now on."""
        now = time.time()
        sent = Sent(int((now - rule.after_hours * 3600) * 1000))
        made = FollowUp(
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
            connection.execute(
                new(followups).values(
                    id=made.id,
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
        return made

    def all(self, counted: bool = True) -> list[FollowUp]:
        """The oldest first. Counting takes time where many were made: without it `made` is 0."""
        made: ColumnElement[int] = literal(0).label("made")
        if counted:
            of = select(func.count()).where(followup_recipients.c.followup == followups.c.id)
            made = of.scalar_subquery().label("made")
        query = select(followups, made).where(followups.c.workspace == self._workspace)
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
        """None where there is none."""
        return next((one for one in self.all() if one.id == followup_id), None)

    def remove(self, followup_id: str) -> None:
        """What is queued already is still sent."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(followups).where(
                    followups.c.id == followup_id, followups.c.workspace == self._workspace
                )
            )

    def enqueue(
        self,
        one: FollowUp,
        due: Sequence[tuple[int, Due]],
        cursor: Cursor,
        to: Sent,
        seen: int = 0,
    ) -> int:
        """Queue what is due by recipients' keys and move on, in one commit; returns how many.

        Raises ErasedError, and nothing is done, where somebody was erased since `seen`.
        """
        now, count = time.time(), 0
        with self._engine.begin() as connection:
            connection.execute(
                update(followups)
                .where(followups.c.id == one.id)
                .values(seq=cursor.seq, line=cursor.line, sent_ms=to.ms, sent_message=to.message)
            )
            erasure_requests.check(connection, seen)
            for recipient, what in due:
                first = connection.execute(
                    insert(followup_recipients)
                    .values(followup=one.id, recipient=signed(recipient), at=now)
                    .on_conflict_do_nothing()
                )
                if first.rowcount:
                    body = sent_as(what.type, what.occurred_at, what)
                    count += queue(connection, one.webhook, what.id, body, now)
        return count


def due_id(followup_id: str, recipient: int) -> str:
    """Stable: the same rule and recipient have the same one."""
    return f"fup_{followup_id.removeprefix('fu_')}_{recipient:016x}"
