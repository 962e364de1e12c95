"""Delivers to webhooks: reads events from the feed, sends what is due and retries failures.

One process does it, of a data folder and of all hosts that share their state: the one that holds
the lease. Each webhook has a task of its own while it has something to
send, so that a slow or dead endpoint delays no other.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from app.consent.erasure_requests import ErasedError
from app.events.enrich import EventEnricher
from app.events.experiment_worker import ExperimentWorker
from app.events.feed import POLL_SECONDS, Cursor, CursorError, Feed, FeedWatcher
from app.events.followup_worker import FollowUpWorker
from app.events.safe_http import DeliveryError, RequestBlockedError, safe_post
from app.events.signing import headers
from app.events.webhooks import Delivery, Webhook, Webhooks
from app.files import leading
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.storage.clickhouse import StorageError
from app.storage.disk import DiskReserve
from app.storage.leases import Lease
from app.storage.state_db import StateVersion

log = logging.getLogger(__name__)
BATCH = 500  # events read at once
MAX_CONCURRENT_REQUESTS = 10  # concurrent requests to one endpoint; one while it fails
QUIET_ROUND_SECONDS = 1.0  # seconds between rounds while state.db does not change
LOCK_SECONDS = 5.0  # seconds between attempts to take over from the delivering process
SWEEP_SECONDS = 3600.0


class WebhookContext(NamedTuple):
    """What the worker needs of one workspace."""

    webhooks: Webhooks
    queries: Queries
    enricher: EventEnricher
    follower: FollowUpWorker
    decider: ExperimentWorker


class WebhookWorker:
    """Delivers for all workspaces: `run()` until cancelled. `contexts` is by workspace name."""

    def __init__(
        self,
        settings: Settings,
        contexts: Mapping[str, WebhookContext],
        feed: Feed,
        watcher: FeedWatcher,
        disk: DiskReserve,
    ) -> None:
        self._settings, self._contexts, self._feed, self._watcher = (
            settings,
            contexts,
            feed,
            watcher,
        )
        self._disk = disk
        self._lease = Lease(feed.engine, "webhooks")
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._trouble, self._swept = "", 0.0
        self.notices: dict[str, list[str]] = {}  # shown on the dashboards, by workspace

    async def run(self) -> None:
        """Deliver while no other process of the data folder does, and no other host."""
        path = self._settings.data_dir / "webhooks.lock"
        async with leading(path, LOCK_SECONDS), self._lease.kept():
            try:
                await self._deliver()
            finally:
                for task in self._sending.values():
                    task.cancel()
                await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _deliver(self) -> None:
        seen, looked = -1, 0.0
        with closing(StateVersion(self._feed.engine)) as state:
            while True:
                version = await state.latest()
                # What is due is due by the clock, too.
                due = version != seen or time.monotonic() - looked > QUIET_ROUND_SECONDS
                if due and self._lease.held:
                    seen, looked = version, time.monotonic()
                    await self._round()
                await asyncio.sleep(POLL_SECONDS)

    async def _round(self) -> None:
        """Queue what is new, and begin to send what is due."""
        trouble, newest = self._disk.trouble, 0
        try:
            newest = await self._watcher.newest()
        except SQLAlchemyError:
            log.exception("webhooks are delayed by an error")
        # Below the reserve events wait in the feed, and deliveries that are queued are still sent.
        for name, context in [] if trouble else list(self._contexts.items()):
            try:
                await asyncio.to_thread(context.decider.take)
            except StorageError as error:
                trouble = str(error)
            except Exception:
                log.exception("cannot decide the experiments of %s", name)
            try:
                await asyncio.to_thread(self.take, name, context, newest)
            except StorageError as error:  # deliveries that are already queued are still sent
                trouble = str(error)
            except ErasedError:
                pass  # the next turn reads email addresses again
            except Exception:
                log.exception("cannot queue events for the webhooks of %s", name)
        if trouble and trouble != self._trouble:
            log.warning("webhooks are waiting: %s", trouble)
        self._trouble = trouble
        try:
            for context in list(self._contexts.values()):
                for webhook_id in await asyncio.to_thread(context.webhooks.due, time.time()):
                    self._begin(context, webhook_id)
                if time.monotonic() - self._swept > SWEEP_SECONDS:
                    self._swept = time.monotonic()
                    await asyncio.to_thread(context.webhooks.sweep, time.time())
        except SQLAlchemyError:
            log.exception("webhooks are delayed by an error")

    def take(self, name: str, context: WebhookContext, newest: int) -> int:
        """Queue deliveries of a workspace's new events; returns how many. Blocking."""
        webhooks = context.webhooks.all()
        self.notices[name] = [
            f"Webhook {webhook.url} is disabled: {webhook.disabled}"
            for webhook in webhooks
            if webhook.disabled
        ]
        on = [
            webhook for webhook in webhooks if not webhook.disabled and webhook.cursor.seq <= newest
        ]
        return sum(self._take(context, webhook) for webhook in on) + context.follower.take()

    def _take(self, context: WebhookContext, webhook: Webhook) -> int:
        count, at = 0, webhook.cursor
        while True:
            seen = self._feed.erasures.newest()
            try:
                events, following = self._feed.after(
                    at, context.queries.workspace, BATCH, settled=webhook.when == "settled"
                )
            except CursorError as error:
                log.warning(
                    "webhook %s has missed events that are no longer kept: %s", webhook.id, error
                )
                events, following = [], Cursor()
            if following == at:
                return count
            likely = [
                event
                for event in events
                # What was loaded before the webhook was added may be settled only now.
                if (event.before or webhook.when == "immediate" or event.is_after(webhook.at))
                and webhook.filter.may_match(event, context.queries)
            ]
            enriched = context.enricher.enrich(likely) if likely else []
            matching = [event for event in enriched if webhook.filter.matches(event)]
            count += context.webhooks.enqueue(webhook, matching, following, seen)
            at = following

    def _begin(self, context: WebhookContext, webhook_id: str) -> None:
        if webhook_id not in self._sending:
            task = asyncio.create_task(self._send(context.webhooks, webhook_id), name=webhook_id)
            self._sending[webhook_id] = task
            task.add_done_callback(self._ended)

    async def _send(self, webhooks: Webhooks, webhook_id: str) -> None:
        """Send until nothing is due."""
        while True:
            webhook = await asyncio.to_thread(webhooks.get, webhook_id)
            if webhook is None or webhook.disabled or not self._lease.held:
                return
            limit = 1 if webhook.failing_since else MAX_CONCURRENT_REQUESTS
            due = await asyncio.to_thread(webhooks.next, webhook_id, time.time(), limit)
            if not due:
                return
            await asyncio.gather(*(self._try(webhooks, webhook, delivery) for delivery in due))

    async def _try(self, webhooks: Webhooks, webhook: Webhook, delivery: Delivery) -> None:
        sent = headers(webhook.secret, delivery.event, int(time.time()), delivery.body)
        try:
            answer = await safe_post(
                webhook.url,
                delivery.body,
                sent,
                self._settings.hook_networks if webhook.from_file else (),
            )
        except (RequestBlockedError, DeliveryError) as error:
            await asyncio.to_thread(webhooks.failed, delivery, str(error))
            return
        if 200 <= answer.status < 300:
            await asyncio.to_thread(webhooks.mark_delivered, delivery, answer)
            return
        error_text = "redirects are not followed" if 300 <= answer.status < 400 else answer.text
        await asyncio.to_thread(webhooks.failed, delivery, error_text, answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook %s: %r", task.get_name(), error)
