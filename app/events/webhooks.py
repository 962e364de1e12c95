"""Stores webhooks, and every delivery until it has arrived or is given up.

The format is that of Standard Webhooks (standardwebhooks.com): headers webhook-id, -timestamp and
-signature, `whsec_` secrets, {type, timestamp, data}. Delivery is at least once under an id that
stays the same; order is not promised. An event becomes a delivery in the commit that moves the
webhook's cursor past it, so a crash neither loses nor duplicates one.
"""

import base64
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, delete, func, or_, select, update
from sqlalchemy import insert as new
from sqlalchemy.dialects.postgresql import insert

from app.clock import CLOCK
from app.consent import erasure_requests
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.safe_http import Answer
from app.events.signing import (
    sent_as,
)
from app.model.errors import FieldError
from app.schemas import webhooks as schemas
from app.schemas.events import EventOut
from app.schemas.timestamps import timestamp, timestamp_or_none
from app.schemas.webhooks import When
from app.storage.row_limits import limit_reached
from app.storage.tables import deliveries, first_events, webhooks

RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)  # seconds
LONGEST_PAUSE_SECONDS = 1.25 * RETRY_SECONDS[-1]  # pauses are up to 1.2 times as long
GIVE_UP_SECONDS = 5 * 86_400.0  # seconds until a delivery is dead, and a failing webhook disabled
LOG_SECONDS = 14 * 86_400.0  # seconds for which the log keeps finished deliveries
FILE_ID_PREFIX = "wh_file_"  # begins the ids of webhooks of the file
MAX_WEBHOOKS = 100  # of a workspace, those of the file not counted
MAX_ERROR_CHARS = 300  # characters of an answer in the log

_encode = msgspec.json.encode


class Webhook(msgspec.Struct, frozen=True):
    """A subscription. `first`: only the first event of each type for a message.

    `timing` is `settled` or `immediate`, or empty for the default. `disabled` says why nothing is
    sent and is empty while it is on. Times are seconds since 1970 UTC.
    """

    id: str
    url: str
    secret: str
    filter: EventFilter
    first: bool
    at: float
    failing_since: float | None
    disabled: str
    cursor: Cursor
    timing: str = ""

    @property
    def from_file(self) -> bool:
        """Returns whether it is one of the operator's webhooks file."""
        return self.id.startswith(FILE_ID_PREFIX)

    @property
    def when(self) -> When:
        """Returns when events are sent: by default settled where their verdict matters."""
        if self.timing:
            return "immediate" if self.timing == "immediate" else "settled"
        return default_timing(self.filter, self.first)


def default_timing(event_filter: EventFilter, first: bool) -> When:
    """Returns `settled` for webhooks with a verdict filter or `first`, else `immediate`."""
    return "settled" if event_filter.verdicts or first else "immediate"


class Delivery(NamedTuple):
    """One event for one webhook; `due` is the time of the next attempt."""

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
        self,
        url: str,
        event_filter: EventFilter,
        first: bool,
        at: Cursor,
        secret: str | None = None,
        when: When | None = None,
    ) -> Webhook:
        """Add a webhook that gets the events after a cursor. Raises FieldError for one too many."""
        secret = secret or "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        webhook = Webhook(
            id=f"wh_{secrets.token_hex(8)}",
            url=url,
            secret=secret,
            filter=event_filter,
            first=first,
            at=time.time(),
            failing_since=None,
            disabled="",
            cursor=at,
            timing=when or "",
        )
        own = ~webhooks.c.id.startswith(FILE_ID_PREFIX, autoescape=True)
        with self._engine.begin() as connection:
            if problem := limit_reached(connection, webhooks, self._workspace, MAX_WEBHOOKS, own):
                raise FieldError("url", f"no further webhook can be added: {problem}")
            connection.execute(
                new(webhooks).values(
                    id=webhook.id,
                    workspace=self._workspace,
                    url=url,
                    secret=secret,
                    wanted=_encode(event_filter),
                    first=first,
                    timing=webhook.timing,
                    at=webhook.at,
                    seq=at.seq,
                    line=at.line,
                    disabled="",
                )
            )
        return webhook

    def sync_from_file(
        self,
        named: Mapping[str, tuple[str, EventFilter, bool, str, When | None]],
        at: Cursor,
    ) -> None:
        """Add, change and remove webhooks so that they match a file.

        `named` has URL, filter, first, secret and timing by name. Cursors and deliveries stay as
        they are; new webhooks get the events after `at`.
        """
        with self._engine.begin() as connection:
            for name, (url, event_filter, first, secret, when) in named.items():
                values = {
                    "url": url,
                    "secret": secret,
                    "wanted": _encode(event_filter),
                    "first": first,
                    "timing": when or "",
                }
                connection.execute(
                    insert(webhooks)
                    .values(
                        id=FILE_ID_PREFIX + name,
                        workspace=self._workspace,
                        at=time.time(),
                        seq=at.seq,
                        line=at.line,
                        disabled="",
                        **values,
                    )
                    .on_conflict_do_update(index_elements=["id"], set_=values)
                )
            connection.execute(
                delete(webhooks).where(
                    webhooks.c.workspace == self._workspace,
                    webhooks.c.id.startswith(FILE_ID_PREFIX, autoescape=True),
                    webhooks.c.id.not_in([FILE_ID_PREFIX + name for name in named]),
                )
            )

    def all(self) -> list[Webhook]:
        """Returns all, the oldest first."""
        query = select(webhooks).where(webhooks.c.workspace == self._workspace)
        with self._engine.connect() as connection:
            return [_webhook(row) for row in connection.execute(query.order_by(webhooks.c.at))]

    def get(self, webhook_id: str) -> Webhook | None:
        """Returns a webhook, or None if there is none."""
        return next((webhook for webhook in self.all() if webhook.id == webhook_id), None)

    def remove(self, webhook_id: str) -> bool:
        """Delete a webhook with its deliveries; returns whether there was one."""
        with self._engine.begin() as connection:
            deleted = connection.execute(
                delete(webhooks).where(
                    webhooks.c.id == webhook_id, webhooks.c.workspace == self._workspace
                )
            )
        return bool(deleted.rowcount)

    def enable(self, webhook_id: str) -> None:
        """Enable a webhook: missed events are sent now, dead letters only by `replay`."""
        with self._engine.begin() as connection:
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == webhook_id)
                .values(disabled="", failing_since=None)
            )

    def enqueue(
        self, webhook: Webhook, events: Sequence[EventOut], following: Cursor, seen: int = 0
    ) -> int:
        """Queue deliveries of events and move the cursor, in one commit; returns how many.

        Raises ErasedError, and changes nothing, if somebody was erased since `seen`.
        """
        now = time.time()
        count = 0
        with self._engine.begin() as connection:
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == webhook.id)
                .values(seq=following.seq, line=following.line)
            )
            erasure_requests.check(connection, seen)
            for event in events:
                if webhook.first and not _is_due_once(connection, webhook, event):
                    continue
                sent = sent_as(event.type, event.occurred_at, event)
                count += queue(connection, webhook.id, event.id, sent, now)
        return count

    def test(self, webhook: Webhook) -> int:
        """Queue a test event, which says that it is one; returns the delivery's id."""
        event_id = f"evt_test_{secrets.token_hex(8)}"
        sent = _encode(
            {"type": "webhook.test", "timestamp": timestamp(time.time()), "data": {"id": event_id}}
        )
        with self._engine.begin() as connection:
            queue(connection, webhook.id, event_id, sent, time.time())
            query = select(deliveries.c.id).where(deliveries.c.event == event_id)
            return int(connection.execute(query).scalar_one())

    def due(self, now: float) -> list[str]:
        """Returns the ids of webhooks with deliveries that are due."""
        with self._engine.connect() as connection:
            return list(
                connection.execute(
                    select(deliveries.c.webhook)
                    .join(webhooks, webhooks.c.id == deliveries.c.webhook)
                    .where(
                        _due(now),
                        webhooks.c.disabled == "",
                        webhooks.c.workspace == self._workspace,
                    )
                    .distinct()
                ).scalars()
            )

    def next(self, webhook_id: str, now: float, limit: int) -> list[Delivery]:
        """Returns the deliveries that are due, the longest waiting first."""
        query = (
            select(deliveries)
            .where(deliveries.c.webhook == webhook_id, _due(now))
            .order_by(deliveries.c.due)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [Delivery(*row) for row in connection.execute(query)]

    def log(self, webhook_id: str, before: int, limit: int, state: str = "") -> list[Delivery]:
        """Returns deliveries, the latest first, from before an id on (0: from the end)."""
        query = select(deliveries).where(deliveries.c.webhook == webhook_id)
        if before:
            query = query.where(deliveries.c.id < before)
        if state:
            query = query.where(deliveries.c.state == state)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit))
            return [Delivery(*row) for row in rows]

    def replay(self, webhook_id: str) -> int:
        """Queue every dead letter again, due now; returns how many."""
        with self._engine.begin() as connection:
            updated = connection.execute(
                update(deliveries)
                .where(deliveries.c.webhook == webhook_id, deliveries.c.state == "dead")
                .values(state="waiting", due=time.time(), at=time.time(), attempts=0)
            )
        return int(updated.rowcount)

    def mark_delivered(self, delivery: Delivery, answer: Answer) -> None:
        """Record that the receiver answered 2xx."""
        with self._engine.begin() as connection:
            _update(connection, delivery, state="delivered", due=None, status=answer.status)
            connection.execute(
                update(webhooks).where(webhooks.c.id == delivery.webhook).values(failing_since=None)
            )

    def failed(self, delivery: Delivery, error: str, answer: Answer | None = None) -> None:
        """Schedule another attempt or give up: after GIVE_UP_SECONDS, or at once for 410."""
        now = time.time()
        status = answer.status if answer else None
        with self._engine.begin() as connection:
            webhook = connection.execute(
                select(webhooks.c.failing_since).where(webhooks.c.id == delivery.webhook)
            ).first()
            if webhook is None:
                return
            since = webhook.failing_since or now
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == delivery.webhook)
                .values(failing_since=since)
            )
            why = ""
            if status == 410:
                why = "the receiver responded with 410 Gone"
            elif now - since >= GIVE_UP_SECONDS and not CLOCK.doubtful:
                why = f"all deliveries have failed for five days: {error}"
            if why:
                _disable(connection, delivery.webhook, why)
            late = now - delivery.at >= GIVE_UP_SECONDS and not CLOCK.doubtful
            over = bool(why) or late
            pause = RETRY_SECONDS[min(delivery.attempts, len(RETRY_SECONDS) - 1)]
            pause *= random.uniform(0.8, 1.2)  # noqa: S311
            if answer and answer.retry_after is not None:
                pause = min(max(answer.retry_after, 1.0), RETRY_SECONDS[-1])
            _update(
                connection,
                delivery,
                state="dead" if over else "waiting",
                due=None if over else now + pause,
                status=status,
                error=error[:MAX_ERROR_CHARS],
            )

    def counts_by_state(self) -> dict[str, int]:
        """Returns the number of deliveries by state, and of disabled webhooks as `off`."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(deliveries.c.state, func.count())
                .join(webhooks, webhooks.c.id == deliveries.c.webhook)
                .where(webhooks.c.workspace == self._workspace)
                .group_by(deliveries.c.state)
            )
            counts = {state: int(count) for state, count in rows}
        return {**counts, "off": sum(bool(webhook.disabled) for webhook in self.all())}

    def sweep(self, now: float) -> None:
        """Delete deliveries of all workspaces that were finished LOG_SECONDS ago."""
        if CLOCK.doubtful:
            return
        with self._engine.begin() as connection:
            connection.execute(
                delete(deliveries).where(
                    deliveries.c.due.is_(None), deliveries.c.at < now - LOG_SECONDS
                )
            )


def _due(now: float) -> ColumnElement[bool]:
    """Returns the condition of deliveries that are due.

    No first attempt waits, and none longer than a pause: a later time is from a wrong clock.
    """
    first = (deliveries.c.attempts == 0) & (deliveries.c.due.is_not(None))
    return first | (deliveries.c.due <= now) | (deliveries.c.due > now + LONGEST_PAUSE_SECONDS)


def queue(connection: Connection, webhook: str, event: str, sent: bytes, now: float) -> int:
    """Queue a delivery, once for each event; returns how many were added."""
    inserted = connection.execute(
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
    return int(inserted.rowcount)


def _is_due_once(connection: Connection, webhook: Webhook, event: EventOut) -> bool:
    """Returns whether a webhook with `first` gets an event.

    It gets the first event of each type for a message, and what is later found out about that one.
    If that one is taken back, the next one is the first again.
    """
    if not event.message_id:  # an experiment's outcome, which comes once
        return True
    if not event.previous_verdict:
        return _is_first(connection, webhook.id, event.type, event.message_id)
    kind = "message.clicked" if event.link else "message.opened"
    matches_now = webhook.filter.covers(event.verdict)
    if _was_sent(connection, webhook.id, event.id.rpartition("_")[0]):
        if not matches_now:
            connection.execute(
                delete(first_events).where(
                    first_events.c.webhook == webhook.id,
                    first_events.c.what == f"{kind} {event.message_id}",
                )
            )
        return True
    return matches_now and _is_first(connection, webhook.id, kind, event.message_id)


def _is_first(connection: Connection, webhook: str, kind: str, message_id: str) -> bool:
    inserted = connection.execute(
        insert(first_events)
        .values(webhook=webhook, what=f"{kind} {message_id}")
        .on_conflict_do_nothing()
    )
    return bool(inserted.rowcount)


def _was_sent(connection: Connection, webhook: str, event_id: str) -> bool:
    """Returns whether an event, or an earlier reclassification of it, was queued for a webhook."""
    query = select(deliveries.c.id).where(
        deliveries.c.webhook == webhook,
        or_(
            deliveries.c.event == event_id,
            deliveries.c.event.startswith(f"{event_id}_", autoescape=True),
        ),
    )
    return connection.execute(query.limit(1)).first() is not None


def _update(connection: Connection, delivery: Delivery, **values: Any) -> None:
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id, deliveries.c.state == "waiting")  # else erased
        .values(attempts=delivery.attempts + 1, **{"error": "", **values})
    )


def _disable(connection: Connection, webhook: str, why: str) -> None:
    connection.execute(
        update(webhooks).where(webhooks.c.id == webhook).values(disabled=why[:MAX_ERROR_CHARS])
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.webhook == webhook, deliveries.c.state == "waiting")
        .values(state="dead", due=None)
    )


def _webhook(row: Any) -> Webhook:
    event_filter = msgspec.json.decode(row.wanted, type=EventFilter)
    return Webhook(
        id=row.id,
        url=row.url,
        secret=row.secret,
        filter=event_filter,
        first=row.first,
        at=row.at,
        failing_since=row.failing_since,
        disabled=row.disabled,
        cursor=Cursor(row.seq, row.line),
        timing=row.timing,
    )


def delivery_out(delivery: Delivery) -> schemas.DeliveryOut:
    """Returns a delivery as the API shows it."""
    return schemas.DeliveryOut(
        id=delivery.id,
        event_id=delivery.event,
        state=delivery.state,
        attempts=delivery.attempts,
        created_at=timestamp(delivery.at),
        next_at=timestamp_or_none(delivery.due),
        status=delivery.status,
        error=delivery.error,
        body=msgspec.Raw(delivery.body),
    )
