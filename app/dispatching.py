"""Delivers to webhooks: takes events from the feed, sends what is due, tries again what failed.

One process of a data folder does it. Each webhook has a task of its own while it has something to
send, so that a slow or dead endpoint delays nobody else.
"""

import asyncio
import fcntl
import logging
import time

from sqlalchemy.exc import SQLAlchemyError

from app.feed import LOOK, Cursor, CursorError, Feed, News
from app.following import Follower
from app.outside import OutsideError, post
from app.queries import Queries
from app.settings import Settings
from app.storage import StorageError
from app.telling import Teller
from app.webhooks import Delivery, Webhook, Webhooks, headers

log = logging.getLogger(__name__)
BATCH = 500  # events read at once
TOGETHER = 10  # requests to one endpoint at a time; one while it fails
ANOTHER = 5.0  # seconds between looks whether the process that delivers has gone
SWEEP = 3600.0


class Dispatcher:
    """`run()` until cancelled."""

    def __init__(
        self,
        settings: Settings,
        hooks: Webhooks,
        feed: Feed,
        news: News,
        queries: Queries,
        follower: Follower,
    ) -> None:
        self._settings, self._hooks, self._feed, self._news = settings, hooks, feed, news
        self._follower = follower
        self._queries, self._teller = queries, Teller(queries)
        self._sending: dict[str, asyncio.Task[None]] = {}
        self.notices: list[str] = []  # what the dashboard must say

    async def run(self) -> None:
        """Deliver while no other process of the data folder does."""
        with (self._settings.data_dir / "webhooks.lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(ANOTHER)
            try:
                await self._deliver()
            finally:
                for task in self._sending.values():
                    task.cancel()
                await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _deliver(self) -> None:
        swept, away = 0.0, ""
        while True:
            try:
                newest = await self._news.newest()
                await asyncio.to_thread(self.take, newest)
                await asyncio.to_thread(self._follower.take)
                away = ""
            except StorageError as error:  # what was taken before is sent all the same
                if str(error) != away:
                    log.warning("webhooks wait for ClickHouse: %s", error)
                away = str(error)
            except Exception:
                log.exception("webhooks take nothing")
            try:
                for webhook_id in await asyncio.to_thread(self._hooks.due, time.time()):
                    if webhook_id not in self._sending:
                        task = asyncio.create_task(self._send(webhook_id), name=webhook_id)
                        self._sending[webhook_id] = task
                        task.add_done_callback(self._ended)
                if time.monotonic() - swept > SWEEP:
                    swept = time.monotonic()
                    await asyncio.to_thread(self._hooks.sweep, time.time())
            except SQLAlchemyError:
                log.exception("webhooks wait")
            await asyncio.sleep(LOOK)

    def take(self, newest: int) -> int:
        """Make deliveries of what is new for each webhook; returns how many. Blocking."""
        hooks = self._hooks.all()
        self.notices = [
            f"Webhook {hook.url} is switched off: {hook.disabled}"
            for hook in hooks
            if hook.disabled
        ]
        return sum(
            self._take(hook) for hook in hooks if not hook.disabled and hook.cursor.seq <= newest
        )

    def _take(self, hook: Webhook) -> int:
        count, at = 0, hook.cursor
        while True:
            try:
                events, following = self._feed.after(at, self._queries.workspace, BATCH)
            except CursorError as error:
                log.warning("webhook %s has missed events: %s", hook.id, error)
                events, following = [], Cursor()
            if following == at:
                return count
            likely = [one for one in events if hook.wanted.may_take(one, self._queries)]
            told = self._teller.tell(likely) if likely else []
            wanted = [one for one in told if hook.wanted.takes(one)]
            count += self._hooks.take(hook, wanted, following)
            at = following

    async def _send(self, webhook_id: str) -> None:
        """Send until nothing is due."""
        while True:
            hook = await asyncio.to_thread(self._hooks.get, webhook_id)
            if hook is None or hook.disabled:
                return
            limit = 1 if hook.failing_since else TOGETHER
            due = await asyncio.to_thread(self._hooks.next, webhook_id, time.time(), limit)
            if not due:
                return
            await asyncio.gather(*(self._try(hook, delivery) for delivery in due))

    async def _try(self, hook: Webhook, delivery: Delivery) -> None:
        sent = headers(hook.secret, delivery.event, int(time.time()), delivery.body)
        try:
            answer = await post(hook.url, delivery.body, sent, self._settings.hook_networks)
        except OutsideError as error:
            await asyncio.to_thread(self._hooks.failed, delivery, str(error))
            return
        if 200 <= answer.status < 300:
            await asyncio.to_thread(self._hooks.arrived, delivery, answer)
            return
        told = "redirects are not followed" if 300 <= answer.status < 400 else answer.text
        await asyncio.to_thread(self._hooks.failed, delivery, told, answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook %s: %r", task.get_name(), error)
