"""Delivers to webhooks: takes events from the feed, sends what is due, tries again what failed.

One process of a data folder does it. Each webhook has a task of its own while it has something to
send, so that a slow or dead endpoint delays nobody else.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from app.consent.erasure_requests import ErasedError
from app.events.enrich import EventEnricher
from app.events.experiment_worker import ExperimentWorker
from app.events.feed import POLL_SECONDS, Cursor, CursorError, Feed, FeedWatcher
from app.events.followup_worker import FollowUpWorker
from app.events.safe_http import OutsideError, safe_post
from app.events.signing import headers
from app.events.webhooks import Delivery, Webhook, Webhooks
from app.files import leading
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.storage.clickhouse import StorageError

log = logging.getLogger(__name__)
BATCH = 500  # events read at once
TOGETHER = 10  # requests to one endpoint at a time; one while it fails
LOCK_SECONDS = 5.0  # seconds between looks whether the process that delivers has gone
SWEEP = 3600.0


class WebhookContext(NamedTuple):
    """What the worker needs of one workspace."""

    webhooks: Webhooks
    queries: Queries
    enricher: EventEnricher
    follower: FollowUpWorker
    decider: ExperimentWorker


class WebhookWorker:
    """`run()` until cancelled. `contexts` holds every workspace's by its name."""

    def __init__(
        self,
        settings: Settings,
        contexts: Mapping[str, WebhookContext],
        feed: Feed,
        news: FeedWatcher,
    ) -> None:
        self._settings, self._contexts, self._feed, self._news = settings, contexts, feed, news
        self._sending: dict[str, asyncio.Task[None]] = {}
        self.notices: dict[str, list[str]] = {}  # what the dashboards must say

    async def run(self) -> None:
        """Deliver while no other process of the data folder does."""
        async with leading(self._settings.data_dir / "webhooks.lock", LOCK_SECONDS):
            try:
                await self._deliver()
            finally:
                for task in self._sending.values():
                    task.cancel()
                await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _deliver(self) -> None:
        swept, away = 0.0, ""
        while True:
            trouble, newest = "", 0
            try:
                newest = await self._news.newest()
            except SQLAlchemyError:
                log.exception("webhooks are delayed by an error")
            for name, context in list(self._contexts.items()):
                try:
                    await asyncio.to_thread(context.decider.take)
                except StorageError as error:
                    trouble = str(error)
                except Exception:
                    log.exception("cannot decide the experiments of %s", name)
                try:
                    await asyncio.to_thread(self.take, name, context, newest)
                except StorageError as error:  # what was taken before is sent all the same
                    trouble = str(error)
                except ErasedError:
                    pass  # the next turn looks addresses up anew
                except Exception:
                    log.exception("cannot queue events for the webhooks of %s", name)
            if trouble and trouble != away:
                log.warning("webhooks are waiting for ClickHouse: %s", trouble)
            away = trouble
            try:
                for context in list(self._contexts.values()):
                    for webhook_id in await asyncio.to_thread(context.webhooks.due, time.time()):
                        self._begin(context, webhook_id)
                if time.monotonic() - swept > SWEEP:
                    swept = time.monotonic()
                    await asyncio.to_thread(context.webhooks.sweep, time.time())
            except SQLAlchemyError:
                log.exception("webhooks are delayed by an error")
            await asyncio.sleep(POLL_SECONDS)

    def take(self, name: str, context: WebhookContext, newest: int) -> int:
        """Make deliveries of what is new for a workspace's webhooks; returns how many. Blocking."""
        hooks = context.webhooks.all()
        self.notices[name] = [
            f"Webhook {hook.url} is disabled: {hook.disabled}" for hook in hooks if hook.disabled
        ]
        on = [hook for hook in hooks if not hook.disabled and hook.cursor.seq <= newest]
        return sum(self._take(context, hook) for hook in on) + context.follower.take()

    def _take(self, context: WebhookContext, hook: Webhook) -> int:
        count, at = 0, hook.cursor
        while True:
            seen = self._feed.erasures.newest()
            try:
                events, following = self._feed.after(at, context.queries.workspace, BATCH)
            except CursorError as error:
                log.warning(
                    "webhook %s has missed events that are no longer kept: %s", hook.id, error
                )
                events, following = [], Cursor()
            if following == at:
                return count
            likely = [one for one in events if hook.wanted.may_match(one, context.queries)]
            told = context.enricher.enrich(likely) if likely else []
            wanted = [one for one in told if hook.wanted.matches(one)]
            count += context.webhooks.enqueue(hook, wanted, following, seen)
            at = following

    def _begin(self, context: WebhookContext, webhook_id: str) -> None:
        if webhook_id not in self._sending:
            task = asyncio.create_task(self._send(context.webhooks, webhook_id), name=webhook_id)
            self._sending[webhook_id] = task
            task.add_done_callback(self._ended)

    async def _send(self, hooks: Webhooks, webhook_id: str) -> None:
        """Send until nothing is due."""
        while True:
            hook = await asyncio.to_thread(hooks.get, webhook_id)
            if hook is None or hook.disabled:
                return
            limit = 1 if hook.failing_since else TOGETHER
            due = await asyncio.to_thread(hooks.next, webhook_id, time.time(), limit)
            if not due:
                return
            await asyncio.gather(*(self._try(hooks, hook, delivery) for delivery in due))

    async def _try(self, hooks: Webhooks, hook: Webhook, delivery: Delivery) -> None:
        sent = headers(hook.secret, delivery.event, int(time.time()), delivery.body)
        try:
            answer = await safe_post(hook.url, delivery.body, sent, self._settings.hook_networks)
        except OutsideError as error:
            await asyncio.to_thread(hooks.failed, delivery, str(error))
            return
        if 200 <= answer.status < 300:
            await asyncio.to_thread(hooks.mark_delivered, delivery, answer)
            return
        told = "redirects are not followed" if 300 <= answer.status < 400 else answer.text
        await asyncio.to_thread(hooks.failed, delivery, told, answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook %s: %r", task.get_name(), error)
