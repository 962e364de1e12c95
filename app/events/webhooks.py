"""Webhooks: who is told of which events, and every delivery until it has arrived or is given up.

The format is that of Standard Webhooks (standardwebhooks.com): headers webhook-id, -timestamp and
-signature, `whsec_` secrets, {type, timestamp, data}. Delivery is at least once under an id that
stays the same; order is not promised. An event becomes a delivery in the commit that moves the
webhook's cursor past it, so a crash neither loses nor doubles one.
"""

import base64
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy import insert as new
from sqlalchemy.dialects.sqlite import insert

from app.consent import erasure_requests
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.safe_http import Answer
from app.events.signing import (
    sent_as,
)
from app.schemas import webhooks as acting
from app.schemas.events import EventOut
from app.storage.tables import deliveries, first_events, webhooks

PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)  # seconds
GIVEN_UP = 5 * 86_400.0  # seconds after which a delivery is dead, and a failing webhook disabled
KEPT = 14 * 86_400.0  # seconds for which the log keeps what is over
FILED = "wh_file_"  # begins the ids of those that a file makes
LOGGED = 300  # characters of an answer

_encode = msgspec.json.encode


class Webhook(msgspec.Struct, frozen=True):
    """A subscription. `first`: of a message, only the first event of each type.

    `disabled` says why nothing is sent, empty while it is on; times are seconds since 1970 UTC.
    """

    id: str
    url: str
    secret: str
    wanted: EventFilter
    first: bool
    at: float
    failing_since: float | None
    disabled: str
    cursor: Cursor


class Delivery(NamedTuple):
    """One event for one webhook; `due` is when it is tried next."""

    id: int
    webhook: str
    event: str
    body: bytes
    at: float
    state: str
    attempts: int
    due: float | None
    status: int | None
    error: str


class Webhooks:
    """Subscriptions and deliveries of one workspace. Blocking: call from threads."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace

    def add(
        self, url: str, wanted: EventFilter, first: bool, at: Cursor, secret: str | None = None
    ) -> Webhook:
        """A new one, told of what comes after a cursor."""
        secret = secret or "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        hook = Webhook(
            id=f"wh_{secrets.token_hex(8)}",
            url=url,
            secret=secret,
            wanted=wanted,
            first=first,
            at=time.time(),
            failing_since=None,
            disabled="",
            cursor=at,
        )
        with self._engine.begin() as connection:
            connection.execute(
                new(webhooks).values(
                    id=hook.id,
                    workspace=self._workspace,
                    url=url,
                    secret=secret,
                    wanted=_encode(wanted),
                    first=first,
                    at=hook.at,
                    seq=at.seq,
                    line=at.line,
                    disabled="",
                )
            )
        return hook

    def sync_from_file(
        self, named: Mapping[str, tuple[str, EventFilter, bool, str]], at: Cursor
    ) -> None:
        """Make those of a file what it says (name: url, wanted, first, secret), no more, no less.

        Their cursors and deliveries stay as they are; new ones are told of what comes after `at`.
        """
        with self._engine.begin() as connection:
            for name, (url, wanted, first, secret) in named.items():
                said = {"url": url, "secret": secret, "wanted": _encode(wanted), "first": first}
                connection.execute(
                    insert(webhooks)
                    .values(
                        id=FILED + name,
                        workspace=self._workspace,
                        at=time.time(),
                        seq=at.seq,
                        line=at.line,
                        disabled="",
                        **said,
                    )
                    .on_conflict_do_update(index_elements=["id"], set_=said)
                )
            connection.execute(
                delete(webhooks).where(
                    webhooks.c.workspace == self._workspace,
                    webhooks.c.id.startswith(FILED, autoescape=True),
                    webhooks.c.id.not_in([FILED + name for name in named]),
                )
            )

    def all(self) -> list[Webhook]:
        """The oldest first."""
        query = select(webhooks).where(webhooks.c.workspace == self._workspace)
        with self._engine.connect() as connection:
            return [_webhook(row) for row in connection.execute(query.order_by(webhooks.c.at))]

    def get(self, webhook_id: str) -> Webhook | None:
        """None where there is none."""
        return next((hook for hook in self.all() if hook.id == webhook_id), None)

    def remove(self, webhook_id: str) -> bool:
        """With its deliveries; whether there was one."""
        with self._engine.begin() as connection:
            gone = connection.execute(
                delete(webhooks).where(
                    webhooks.c.id == webhook_id, webhooks.c.workspace == self._workspace
                )
            )
        return bool(gone.rowcount)

    def enable(self, webhook_id: str) -> None:
        """On again; what it was not told meanwhile is sent now, dead letters only by `replay`."""
        with self._engine.begin() as connection:
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == webhook_id)
                .values(disabled="", failing_since=None)
            )

    def enqueue(
        self, hook: Webhook, events: Sequence[EventOut], following: Cursor, seen: int = 0
    ) -> int:
        """Make deliveries of events and move the cursor, in one commit; returns how many.

        Raises ErasedError, and nothing is done, where somebody was erased since `seen`.
        """
        now = time.time()
        count = 0
        with self._engine.begin() as connection:
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == hook.id)
                .values(seq=following.seq, line=following.line)
            )
            erasure_requests.check(connection, seen)
            for event in events:
                if hook.first and not _is_first(connection, hook.id, event):
                    continue
                sent = sent_as(event.type, event.occurred_at, event)
                count += queue(connection, hook.id, event.id, sent, now)
        return count

    def test(self, hook: Webhook) -> int:
        """Queue an invented event that says so; returns the delivery's id."""
        event_id = f"evt_test_{secrets.token_hex(8)}"
        sent = _encode(
            {"type": "webhook.test", "timestamp": _iso(time.time()), "data": {"id": event_id}}
        )
        with self._engine.begin() as connection:
            queue(connection, hook.id, event_id, sent, time.time())
            found = select(deliveries.c.id).where(deliveries.c.event == event_id)
            return int(connection.execute(found).scalar_one())

    def due(self, now: float) -> list[str]:
        """Webhooks that have something to send."""
        with self._engine.connect() as connection:
            return list(
                connection.execute(
                    select(deliveries.c.webhook)
                    .join(webhooks, webhooks.c.id == deliveries.c.webhook)
                    .where(
                        deliveries.c.due <= now,
                        webhooks.c.disabled == "",
                        webhooks.c.workspace == self._workspace,
                    )
                    .distinct()
                ).scalars()
            )

    def next(self, webhook_id: str, now: float, limit: int) -> list[Delivery]:
        """What is due, the longest waiting first."""
        query = (
            select(deliveries)
            .where(deliveries.c.webhook == webhook_id, deliveries.c.due <= now)
            .order_by(deliveries.c.due)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [Delivery(*row) for row in connection.execute(query)]

    def log(self, webhook_id: str, before: int, limit: int, state: str = "") -> list[Delivery]:
        """The latest first, from before a delivery's id on (0: from the end)."""
        query = select(deliveries).where(deliveries.c.webhook == webhook_id)
        if before:
            query = query.where(deliveries.c.id < before)
        if state:
            query = query.where(deliveries.c.state == state)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit))
            return [Delivery(*row) for row in rows]

    def replay(self, webhook_id: str) -> int:
        """Try every dead letter again, now; returns how many."""
        with self._engine.begin() as connection:
            found = connection.execute(
                update(deliveries)
                .where(deliveries.c.webhook == webhook_id, deliveries.c.state == "dead")
                .values(state="waiting", due=time.time(), at=time.time(), attempts=0)
            )
        return int(found.rowcount)

    def mark_delivered(self, delivery: Delivery, answer: Answer) -> None:
        """It was taken with a 2xx."""
        with self._engine.begin() as connection:
            _update(connection, delivery, state="delivered", due=None, status=answer.status)
            connection.execute(
                update(webhooks).where(webhooks.c.id == delivery.webhook).values(failing_since=None)
            )

    def failed(self, delivery: Delivery, error: str, answer: Answer | None = None) -> None:
        """Try again later, or give up: after GIVEN_UP, or at once where the answer was 410."""
        now = time.time()
        status = answer.status if answer else None
        with self._engine.begin() as connection:
            hook = connection.execute(
                select(webhooks.c.failing_since).where(webhooks.c.id == delivery.webhook)
            ).first()
            if hook is None:
                return
            since = hook.failing_since or now
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == delivery.webhook)
                .values(failing_since=since)
            )
            why = ""
            if status == 410:
                why = "the receiver responded with 410 Gone"
            elif now - since >= GIVEN_UP:
                why = f"all deliveries have failed for five days: {error}"
            if why:
                _disable(connection, delivery.webhook, why)
            over = bool(why) or now - delivery.at >= GIVEN_UP
            pause = PAUSES[min(delivery.attempts, len(PAUSES) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
            if answer and answer.retry_after is not None:
                pause = min(max(answer.retry_after, 1.0), PAUSES[-1])
            _update(
                connection,
                delivery,
                state="dead" if over else "waiting",
                due=None if over else now + pause,
                status=status,
                error=error[:LOGGED],
            )

    def counts_by_state(self) -> dict[str, int]:
        """How many deliveries there are by state, and how many webhooks are `off`."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(deliveries.c.state, func.count())
                .join(webhooks, webhooks.c.id == deliveries.c.webhook)
                .where(webhooks.c.workspace == self._workspace)
                .group_by(deliveries.c.state)
            )
            found = {state: int(count) for state, count in rows}
        return {**found, "off": sum(bool(hook.disabled) for hook in self.all())}

    def sweep(self, now: float) -> None:
        """Forget what has been over for KEPT, every workspace's."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(deliveries).where(deliveries.c.due.is_(None), deliveries.c.at < now - KEPT)
            )


def queue(connection: Connection, webhook: str, event: str, sent: bytes, now: float) -> int:
    """Make a delivery, once for each event; returns how many were made."""
    made = connection.execute(
        insert(deliveries)
        .values(
            webhook=webhook,
            event=event,
            body=sent,
            at=now,
            due=now,
            state="waiting",
            attempts=0,
            error="",
        )
        .on_conflict_do_nothing()
    )
    return int(made.rowcount)


def _is_first(connection: Connection, webhook: str, event: EventOut) -> bool:
    if not event.message_id:  # an experiment's outcome, of which there is one
        return True
    made = connection.execute(
        insert(first_events)
        .values(webhook=webhook, what=f"{event.type} {event.message_id}")
        .on_conflict_do_nothing()
    )
    return bool(made.rowcount)


def _update(connection: Connection, delivery: Delivery, **values: Any) -> None:
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id, deliveries.c.state == "waiting")  # not erased
        .values(attempts=delivery.attempts + 1, **{"error": "", **values})
    )


def _disable(connection: Connection, webhook: str, why: str) -> None:
    connection.execute(
        update(webhooks).where(webhooks.c.id == webhook).values(disabled=why[:LOGGED])
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.webhook == webhook, deliveries.c.state == "waiting")
        .values(state="dead", due=None)
    )


def _webhook(row: Any) -> Webhook:
    wanted = msgspec.json.decode(row.wanted, type=EventFilter)
    return Webhook(
        id=row.id,
        url=row.url,
        secret=row.secret,
        wanted=wanted,
        first=row.first,
        at=row.at,
        failing_since=row.failing_since,
        disabled=row.disabled,
        cursor=Cursor(row.seq, row.line),
    )


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def delivery_out(one: Delivery) -> acting.DeliveryOut:
    """A delivery as the API tells it."""
    return acting.DeliveryOut(
        id=one.id,
        event_id=one.event,
        state=one.state,
        attempts=one.attempts,
        created_at=datetime.fromtimestamp(one.at, UTC),
        next_at=_at(one.due),
        status=one.status,
        error=one.error,
        body=msgspec.Raw(one.body),
    )


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
