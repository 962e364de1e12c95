"""Counts the hits of newsletters again once they have changed, for the pages that show them.

Distinct messages cannot be summed up: those of each newsletter are counted (counted.part of
clickhouse/queries) and stored in its row of hits_by_newsletter, with the checksum of the hits that
were counted. While the row has another checksum, queries count for themselves: what is stored may
be late, and is never shown when it is wrong. A count that was interrupted leaves nothing.
"""

import asyncio
import logging
import time
from itertools import groupby
from operator import itemgetter

from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.storage.clickhouse import Storage, StorageError
from app.storage.sql import sql

log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0  # between counts, so that a busy loader has few of them
OTHERS_SECONDS = 60.0  # between looks at what other hosts have loaded, or a repair has changed
SHARE = 0.02  # of the time that counts may take
CHANGED, NEWSLETTERS = 100_000, 200  # read, and counted, at once


class NewsletterCounts:
    """Keeps the stored counts current: `run()` until cancelled; `count_changed` blocks."""

    def __init__(self, storage: Storage, loader: Loader, corrections: Corrections) -> None:
        self._storage, self._loader, self._corrections = storage, loader, corrections

    async def run(self) -> None:
        """Count what has changed, until cancelled; waits while ClickHouse is unavailable."""
        counted, due, pause = (-1, -1), 0.0, PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            seen, now = (self._loader.loaded, self._corrections.changed), time.monotonic()
            if not self._loader.ready or (seen == counted and now < due):
                continue
            try:
                await asyncio.to_thread(self.count_changed)
                counted, due = seen, now + OTHERS_SECONDS
            except StorageError as error:
                log.debug("counts are waiting: %s", error)
            pause = max(PAUSE_SECONDS, (time.monotonic() - now) / SHARE)

    def count_changed(self) -> int:
        """Count every newsletter whose hits have changed since they were counted.

        Returns how many. Raises StorageError.
        """
        rows = self._storage.query(sql("newsletters_changed"), {"workspace": "", "limit": CHANGED})
        for workspace, group in groupby(rows, itemgetter("workspace")):
            keys = [row["newsletter"] for row in group]
            for first in range(0, len(keys), NEWSLETTERS):
                them = {"workspace": workspace, "newsletters": keys[first : first + NEWSLETTERS]}
                with self._storage.reader() as client:
                    client.command(sql("store_counts"), parameters=them)
        return len(rows)
