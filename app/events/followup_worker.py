"""Finds whom rules of follow-ups are about: clicks in the feed, silence in the ledger."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from uuid import UUID

from app.consent.suppressions import Suppressions
from app.events.enrich import EventEnricher
from app.events.feed import KEPT, Cursor, CursorError, Event, Feed
from app.events.followups import TYPE, FollowUp, FollowUps, Sent, due_id
from app.events.webhooks import Webhooks
from app.model.verdicts import HUMAN
from app.schemas.events import Due, EventOut
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.storage.clickhouse import Row
from app.storage.journal_segments import waiting_since

log = logging.getLogger(__name__)
BATCH = 5_000  # events or messages looked at in one commit
SETTLED_SECONDS = 5.0  # seconds after loading, when verdicts of clicks that came together are known
POLL_SECONDS = 1.0  # seconds between looks at all
LEDGER_POLL_SECONDS = 10.0  # seconds between looks into the ledger
LEDGER_LAG_SECONDS = 5.0  # seconds that a message may take from its id to its line in the journal


class FollowUpWorker:
    """Call `take` now and then, in one process of a data folder. Blocking."""

    def __init__(
        self,
        settings: Settings,
        followups: FollowUps,
        hooks: Webhooks,
        feed: Feed,
        queries: Queries,
        suppressions: Suppressions,
    ) -> None:
        self._journal = settings.data_dir / "journal"
        self._followups, self._hooks, self._feed = followups, hooks, feed
        self._queries, self._suppressions = queries, suppressions
        self._enricher = EventEnricher(queries)
        self._taken, self._looked = -POLL_SECONDS, -LEDGER_POLL_SECONDS

    def take(self) -> int:
        """Queue what is due; returns how many. Raises StorageError while ClickHouse is away."""
        if time.monotonic() - self._taken < POLL_SECONDS:
            return 0
        self._taken = time.monotonic()
        on = {hook.id for hook in self._hooks.all() if not hook.disabled}
        rules = [one for one in self._followups.all(counted=False) if one.webhook in on]
        count = sum(self._clicked(one) for one in rules if one.rule.when == "clicked")
        if time.monotonic() - self._looked >= LEDGER_POLL_SECONDS:
            self._looked = time.monotonic()
            count += sum(self._silent(one) for one in rules if one.rule.when != "clicked")
        return count

    def _clicked(self, one: FollowUp) -> int:
        count, at = 0, one.cursor
        until = time.time() - SETTLED_SECONDS
        while True:
            seen = self._feed.erasures.newest()
            try:
                events, following = self._feed.after(at, self._queries.workspace, BATCH, until)
            except CursorError as error:
                log.warning(
                    "follow-up %s has missed events that are no longer kept: %s", one.id, error
                )
                events, following = [], Cursor()
            if following == at:
                return count
            clicks = [
                event
                for event in events
                if event.row.kind == "click"
                and event.row.verdict in HUMAN
                and event.row.recipient
                and one.rule.wanted.may_match(event, self._queries)
            ]
            found = self._still(clicks) if clicks else []
            told = zip(found, self._enricher.enrich(found), strict=True)
            wanted = [
                (event, said)
                for event, said in told
                if said.recipient
                and one.rule.wanted.matches(said)  # else there is nobody to follow
            ]
            blocked = self._blocked((event.row.newsletter, event.row.recipient) for event in found)
            due = [
                (event.row.recipient, _of_click(one, event, said, blocked))
                for event, said in wanted
            ]
            count += self._followups.enqueue(one, due, following, one.sent, seen)
            at = following

    def _still(self, clicks: list[Event]) -> list[Event]:
        """Those whose links people clicked, as far as is known by now."""
        rows = self._queries.run(
            "followup_clicks",
            newsletters=sorted({event.row.newsletter for event in clicks}),
            messages=sorted({event.row.message for event in clicks}),
        )
        clicked = {(row["id"], row["link_key"]) for row in rows}
        messages = {message for message, _ in clicked}
        return [
            one
            for one in clicks
            if (str(UUID(one.row.message)), one.row.link_key) in clicked
            or (not one.row.link_key and str(UUID(one.row.message)) in messages)
        ]

    def _silent(self, one: FollowUp) -> int:
        """Up to what is surely loaded: nobody is silent whose open waits in the journal."""
        now = time.time()
        over = one.rule.after_hours * 3600
        until = int(
            (min(now, waiting_since(self._journal, now)) - LEDGER_LAG_SECONDS - over) * 1000
        )
        at = max(one.sent, Sent(int((now - over - KEPT) * 1000)))
        newsletters = [self._queries.key(name) for name in one.rule.wanted.newsletters]
        kinds = ["click"] if one.rule.when == "not_clicked" else ["open", "click"]
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
            due = [(row["recipient"], _of_silence(one, row, ids, blocked)) for row in silent]
            ended = len(rows) < BATCH
            at = Sent(until) if ended else Sent(rows[-1]["at_ms"], rows[-1]["id"])
            count += self._followups.enqueue(one, due, one.cursor, at, seen)
            if ended:
                break
        return count

    def _ids(self, newsletters: set[int]) -> dict[int, str]:
        if not newsletters:
            return {}
        rows = self._queries.run("event_newsletters", newsletters=sorted(newsletters))
        return {row["newsletter"]: row["id"] for row in rows}

    def _blocked(self, sent: Iterable[tuple[int, int]]) -> Callable[[int, int], bool]:
        """Whether a newsletter must not go to a recipient, of those that are given."""
        by: dict[int, set[int]] = {}
        for newsletter, recipient in sent:
            by.setdefault(newsletter, set()).add(recipient)
        found = {key: self._suppressions.among(people, key) for key, people in by.items()}
        return lambda newsletter, recipient: recipient in found[newsletter]


def _of_click(
    one: FollowUp, event: Event, said: EventOut, blocked: Callable[[int, int], bool]
) -> Due:
    return Due(
        id=due_id(one.id, event.row.recipient),
        type=TYPE,
        followup_id=one.id,
        name=one.name,
        when=one.rule.when,
        newsletter_id=said.newsletter_id,
        message_id=said.message_id,
        recipient=said.recipient,
        suppressed=blocked(event.row.newsletter, event.row.recipient),
        occurred_at=said.occurred_at,
        link=said.link,
        metadata=said.metadata,
        rfc_message_id=said.rfc_message_id,
    )


def _of_silence(
    one: FollowUp, row: Row, ids: dict[int, str], blocked: Callable[[int, int], bool]
) -> Due:
    over = datetime.fromtimestamp(row["at_ms"] / 1000 + one.rule.after_hours * 3600, UTC)
    return Due(
        id=due_id(one.id, row["recipient"]),
        type=TYPE,
        followup_id=one.id,
        name=one.name,
        when=one.rule.when,
        newsletter_id=ids.get(row["newsletter"], ""),
        message_id=row["id"],
        recipient=row["address"],
        suppressed=blocked(row["newsletter"], row["recipient"]),
        occurred_at=over,
        link=None,
        metadata=dict(row["metadata"]),
        rfc_message_id=row["rfc_message_id"] or None,
    )
