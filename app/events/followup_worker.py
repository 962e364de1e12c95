"""Finds the recipients that follow-ups are about: clicks in the feed, silence in ClickHouse."""

import logging
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from app.clock import CLOCK
from app.consent.suppressions import Suppressions
from app.events.enrich import EventEnricher
from app.events.feed import KEPT_SECONDS, Cursor, CursorError, Event, Feed
from app.events.followups import TYPE, FollowUp, FollowUps, Sent, due_id
from app.events.webhooks import Webhooks
from app.model.verdicts import HUMAN
from app.schemas.events import Due, EventOut
from app.schemas.timestamps import timestamp
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.storage.clickhouse import Row
from app.storage.journal_segments import waiting_since, waiting_to_settle

log = logging.getLogger(__name__)
BATCH = 5_000  # events or messages read in one commit
POLL_SECONDS = 1.0  # seconds between checks
LEDGER_POLL_SECONDS = 10.0  # seconds between queries for silent recipients
LEDGER_LAG_SECONDS = 5.0  # seconds that a message may take from its id to its line in the journal


class FollowUpWorker:
    """Queues follow-ups. Blocking. Call `take` regularly, in one process of a data folder."""

    def __init__(
        self,
        settings: Settings,
        followups: FollowUps,
        webhooks: Webhooks,
        feed: Feed,
        queries: Queries,
        suppressions: Suppressions,
    ) -> None:
        self._journal = settings.data_dir / "journal"
        self._followups, self._webhooks, self._feed = followups, webhooks, feed
        self._queries, self._suppressions = queries, suppressions
        self._enricher = EventEnricher(queries)
        self._taken, self._looked = -POLL_SECONDS, -LEDGER_POLL_SECONDS

    def take(self) -> int:
        """Queue what is due and return how many. Raises StorageError without ClickHouse."""
        if time.monotonic() - self._taken < POLL_SECONDS:
            return 0
        self._taken = time.monotonic()
        on = {webhook.id for webhook in self._webhooks.all() if not webhook.disabled}
        rules = [
            followup for followup in self._followups.all(counted=False) if followup.webhook in on
        ]
        count = sum(
            self._clicked(followup) for followup in rules if followup.rule.when == "clicked"
        )
        silence_counts = not CLOCK.doubtful  # it is known by the time alone
        if silence_counts and time.monotonic() - self._looked >= LEDGER_POLL_SECONDS:
            self._looked = time.monotonic()
            count += sum(
                self._silent(followup) for followup in rules if followup.rule.when != "clicked"
            )
        return count

    def _clicked(self, followup: FollowUp) -> int:
        count, at = 0, followup.cursor
        while True:
            seen = self._feed.erasures.newest()
            try:
                events, following = self._feed.after(
                    at, self._queries.workspace, BATCH, settled=True
                )
            except CursorError as error:
                log.warning(
                    "follow-up %s has missed events that are no longer kept: %s", followup.id, error
                )
                events, following = [], Cursor()
            if following == at:
                return count
            clicks = [
                event
                for event in events
                if event.row.kind == "click"
                and (event.before or event.is_after(followup.at))
                and event.row.verdict in HUMAN
                and event.row.recipient
                and followup.rule.filter.may_match(event, self._queries)
            ]
            human_clicks = self._still(clicks) if clicks else []
            enriched = zip(human_clicks, self._enricher.enrich(human_clicks), strict=True)
            matching = [
                (event, enriched_event)
                for event, enriched_event in enriched
                if enriched_event.recipient  # None once erased
                and followup.rule.filter.matches(enriched_event)
            ]
            blocked = self._blocked(
                (event.row.newsletter, event.row.recipient) for event in human_clicks
            )
            due = [
                (event.row.recipient, _of_click(followup, event, enriched_event, blocked))
                for event, enriched_event in matching
            ]
            count += self._followups.enqueue(followup, due, following, followup.sent, seen)
            at = following

    def _still(self, clicks: list[Event]) -> list[Event]:
        """Returns the clicks that still count as a person's."""
        rows = self._queries.run(
            "followup_clicks",
            newsletters=sorted({event.row.newsletter for event in clicks}),
            messages=sorted({event.row.message for event in clicks}),
        )
        clicked = {(row["id"], row["link_key"]) for row in rows}
        messages = {message for message, _ in clicked}
        return [
            event
            for event in clicks
            if (str(UUID(event.row.message)), event.row.link_key) in clicked
            or (not event.row.link_key and str(UUID(event.row.message)) in messages)
        ]

    def _silent(self, followup: FollowUp) -> int:
        """Look only at messages whose hits are loaded and settled.

        An open in the journal is no silence, and a click that may turn out to be a scanner's is
        not known to be an act.
        """
        now = time.time()
        over = followup.rule.after_hours * 3600
        waiting = min(waiting_since(self._journal, now), waiting_to_settle(self._journal, now))
        until = int((waiting - LEDGER_LAG_SECONDS - over) * 1000)
        at = max(followup.sent, Sent(int((now - over - KEPT_SECONDS) * 1000)))
        newsletters = [self._queries.key(name) for name in followup.rule.filter.newsletters]
        kinds = ["click"] if followup.rule.when == "not_clicked" else ["open", "click"]
        count = 0
        while at.ms < until:
            seen = self._feed.erasures.newest()
            rows = self._queries.run(
                "followup_silent",
                newsletters=newsletters,
                kinds=kinds,
                after_ms=at.ms,
                after_message=at.message,
                until_ms=until,
                limit=BATCH,
            )
            silent = [row for row in rows if not row["acted"]]
            blocked = self._blocked((row["newsletter"], row["recipient"]) for row in silent)
            ids = self._ids({row["newsletter"] for row in silent})
            due = [(row["recipient"], _of_silence(followup, row, ids, blocked)) for row in silent]
            ended = len(rows) < BATCH
            at = Sent(until) if ended else Sent(rows[-1]["at_ms"], rows[-1]["id"])
            count += self._followups.enqueue(followup, due, followup.cursor, at, seen)
            if ended:
                break
        return count

    def _ids(self, newsletters: set[int]) -> dict[int, str]:
        if not newsletters:
            return {}
        rows = self._queries.run("event_newsletters", newsletters=sorted(newsletters))
        return {row["newsletter"]: row["id"] for row in rows}

    def _blocked(self, sent: Iterable[tuple[int, int]]) -> Callable[[int, int], bool]:
        """Returns a function: whether a newsletter must not go to one of the given recipients."""
        by: dict[int, set[int]] = {}
        for newsletter, recipient in sent:
            by.setdefault(newsletter, set()).add(recipient)
        suppressed = {key: self._suppressions.among(people, key) for key, people in by.items()}
        return lambda newsletter, recipient: recipient in suppressed[newsletter]


def _of_click(
    followup: FollowUp, event: Event, event_out: EventOut, blocked: Callable[[int, int], bool]
) -> Due:
    return Due(
        id=due_id(followup.id, event.row.recipient),
        type=TYPE,
        followup_id=followup.id,
        name=followup.name,
        when=followup.rule.when,
        newsletter_id=event_out.newsletter_id,
        message_id=event_out.message_id,
        recipient=event_out.recipient,
        suppressed=blocked(event.row.newsletter, event.row.recipient),
        occurred_at=event_out.occurred_at,
        link=event_out.link,
        metadata=event_out.metadata,
        rfc_message_id=event_out.rfc_message_id,
    )


def _of_silence(
    followup: FollowUp, row: Row, ids: dict[int, str], blocked: Callable[[int, int], bool]
) -> Due:
    over = row["at_ms"] / 1000 + followup.rule.after_hours * 3600
    return Due(
        id=due_id(followup.id, row["recipient"]),
        type=TYPE,
        followup_id=followup.id,
        name=followup.name,
        when=followup.rule.when,
        newsletter_id=ids.get(row["newsletter"], ""),
        message_id=row["id"],
        recipient=row["address"],
        suppressed=blocked(row["newsletter"], row["recipient"]),
        occurred_at=timestamp(over),
        link=None,
        metadata=dict(row["metadata"]),
        rfc_message_id=row["rfc_message_id"] or None,
    )
