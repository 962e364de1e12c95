"""Erases persons: anonymises their data everywhere, and keeps every figure.

Erasures are requested in state.db (`erasures`). One process of a data folder carries out all that
wait at once, in an order in which each step may be interrupted and repeated:

1. The waiting journal is loaded: first, since from then on the loader itself anonymises hits of
   erased persons (`Erasures.covers`).
2. While no verdict is being corrected, ClickHouse rewrites their rows in place.
3. The feed, journal segments, deliveries and follow-ups of state.db, and files, are rewritten;
   state.db is compacted.
4. ClickHouse deletes the files that it has replaced: at once in chDB, in minutes on a server.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.auth.workspaces import DEFAULT, Workspaces
from app.consent.erasure_requests import Erasure, Erasures
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.model.ids import recipient_key
from app.model.tracking_modes import all_keys_of
from app.privacy import scrub
from app.privacy.subject_match import SubjectMatcher, spellings
from app.storage.clickhouse import Storage, StorageError
from app.storage.journal_segments import adopt_orphans, waiting_segments
from app.storage.leases import alone
from app.storage.sql import sql
from app.storage.state_db import StateVersion

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0  # seconds for which an answer waits for the end
POLL_SECONDS = 0.1  # seconds between checks whether an erasure is done
REQUEST_POLL_SECONDS = 0.2  # seconds between checks for new requests
RETRY_SECONDS = 5.0  # seconds, while ClickHouse is unavailable or keeps files that it has replaced
LOADING_SECONDS = 120.0  # seconds for which loading the journal is waited for
METADATA_BATCH = 100  # messages whose metadata one statement rewrites
Place = tuple[int, int]
CLEARED = (
    "messages",
    "hits",
    "outcomes",
    "newsletter_links",
    "newsletters",
)  # tables whose rows are rewritten


class ErasureWorker:
    """Erases requested persons: `run()` until cancelled; the other methods block."""

    def __init__(
        self,
        data_dir: Path,
        engine: Engine,
        storage: Storage,
        loader: Loader,
        corrections: Corrections,
        workspaces: Workspaces,
        erasures: Erasures,
    ) -> None:
        self._data_dir, self._engine, self._storage = data_dir, engine, storage
        self._loader, self._corrections, self._workspaces = loader, corrections, workspaces
        self.erasures = erasures

    async def run(self) -> None:
        """Erase on request, and wait while ClickHouse is unavailable."""
        with closing(StateVersion(self._engine)) as state:
            ended, quiet, pause = -1, -1, REQUEST_POLL_SECONDS
            while True:
                await asyncio.sleep(pause)
                version = await state.latest()
                if version == quiet:
                    continue
                try:
                    newest = await asyncio.to_thread(self.erasures.newest)
                    if newest == ended:
                        quiet = version
                        continue
                    if not self._loader.ready:
                        pause = REQUEST_POLL_SECONDS
                        continue
                    await asyncio.to_thread(self.finish)
                    if await asyncio.to_thread(self.erasures.open):
                        pause = min(pause * 2, RETRY_SECONDS)
                    else:
                        ended, pause = newest, REQUEST_POLL_SECONDS
                except (StorageError, OSError, SQLAlchemyError) as error:
                    log.warning("erasure is waiting: %s", error)
                    pause = RETRY_SECONDS

    def finish(self) -> None:
        """Advance all open erasures as far as possible now, unless another process does.

        Raises StorageError or StateError; finished steps stay finished.
        """
        if not self.erasures.open():
            return
        with alone(self._engine, self._data_dir / "erasing.lock") as held:
            if not held:
                return
            waiting = [erasure for erasure in self.erasures.open() if erasure.state == "waiting"]
            if waiting:
                self._load()
                self._rewrite(waiting)
            rewritten = [
                erasure for erasure in self.erasures.open() if erasure.state == "rewritten"
            ]
            if rewritten:
                self._scrub(rewritten)
            for erasure in self.erasures.open():
                since = erasure.rewritten or 0.0
                if erasure.state == "cleaned" and not self._storage.replaced(CLEARED, since):
                    self.erasures.change(erasure, state="done")

    def _load(self) -> None:
        """Load every line written before now; the loader anonymises later ones itself."""
        folder, end = self._loader.folder, time.monotonic() + LOADING_SECONDS
        there = _unloaded(folder)
        while there:
            adopt_orphans(folder)
            self._loader.load_all()
            there &= _unloaded(folder)
            if there:
                if time.monotonic() > end:
                    raise StorageError(f"{len(there)} journal segments are not loaded yet")
                time.sleep(0.05)

    def _rewrite(self, waiting: Sequence[Erasure]) -> None:
        self._corrections.reclassify_recent(0)
        for workspace, ones in _by_workspace(waiting):
            known = sorted(set().union(*(self._keys(erasure) for erasure in ones)))
            them = {"workspace": workspace, "recipients": known}
            counts = {erasure.id: self._count_rows(erasure) for erasure in ones}
            own = self._storage.query(sql("erase_own_links"), them)
            with self._loader.outcomes.paused():
                self._rewrite_outcomes(them, [erasure.address for erasure in ones])
            with self._corrections.paused():
                for table in ("messages", "hits"):
                    self._storage.change(table, sql(f"erase_{table}"), them)
            for erasure in ones:
                counts[erasure.id]["texts"] = self._rewrite_named(erasure)
            self._rewrite_links(
                workspace, urls=[(row["newsletter"], row["link_key"]) for row in own]
            )
            now = self._storage.clock()
            for erasure in ones:
                self.erasures.change(
                    erasure, state="rewritten", rewritten=now, counts=counts[erasure.id]
                )

    def _rewrite_outcomes(self, them: dict[str, Any], addresses: Sequence[str]) -> None:
        """Remove persons from outcomes, while their messages still say which these are."""
        spelt = [spelling for address in addresses for spelling in spellings(address)]
        rows = self._storage.query(sql("erase_outcomes_found"), {**them, "spellings": spelt})
        for start in range(0, max(len(rows), 1), METADATA_BATCH):
            events = [row["event"] for row in rows[start : start + METADATA_BATCH]]
            self._storage.change("outcomes", sql("erase_outcomes"), {**them, "events": events})

    def _count_rows(self, erasure: Erasure) -> dict[str, int]:
        """Returns counts of rows that no earlier attempt or erasure has rewritten."""
        them = {"workspace": erasure.workspace, "recipients": sorted(self._keys(erasure))}
        return {
            name: int(n) for name, n in self._storage.query(sql("erase_found"), them)[0].items()
        }

    def _keys(self, erasure: Erasure) -> frozenset[int]:
        """Returns the recipient's key, and the pseudonyms under which their hits may be kept."""
        rows = self._storage.query(sql("erase_pseudonymous"), {"workspace": erasure.workspace})
        secret = self._workspaces.get(DEFAULT).recipient_key
        return all_keys_of(secret, [row["newsletter"] for row in rows], erasure.recipient)

    def _rewrite_named(self, erasure: Erasure) -> int:
        """Rewrite links, newsletters' names and other messages' metadata with the email address.

        Its usual hashes count like it. They are there only if a mailer has put them in. Returns
        how many rows that were.
        """
        if not erasure.address:
            return 0
        here = {"workspace": erasure.workspace}
        spelt = {"spellings": [*spellings(erasure.address)]}
        rows = self._storage.query(sql("erase_named"), {**here, **spelt})
        whats = ("url", "label", "link_name", "name", "subject")
        by: dict[str, list[Any]] = {what: [] for what in whats}
        for row in rows:
            link = row["newsletter"], row["link_key"]
            by[row["what"]].append(link if link[1] else row["newsletter"])
        self._rewrite_links(erasure.workspace, by["url"], by["label"], by["link_name"])
        if by["name"] or by["subject"]:
            them = {**here, "names": by["name"], "subjects": by["subject"]}
            self._storage.change("newsletters", sql("erase_newsletters"), them)
        return len(rows) + self._rewrite_metadata(erasure)

    def _rewrite_metadata(self, erasure: Erasure) -> int:
        """Remove the person from other messages' metadata, of which the rest stays."""
        here = {"workspace": erasure.workspace}
        rows = self._storage.query(
            sql("erase_metadata_found"), {**here, "spellings": [*spellings(erasure.address)]}
        )
        for start in range(0, len(rows), METADATA_BATCH):
            batch = rows[start : start + METADATA_BATCH]
            them = {
                "messages": [row["message"] for row in batch],
                "keys": [(row["message"], key) for row in batch for key in row["keys"]],
                "named": [row["message"] for row in batch if row["named"]],
            }
            self._storage.change("messages", sql("erase_metadata"), {**here, **them})
        return len(rows)

    def _rewrite_links(
        self,
        workspace: str,
        urls: Sequence[Place],
        labels: Sequence[Place] = (),
        names: Sequence[Place] = (),
    ) -> None:
        """Remove URLs, labels and names of some links, given as newsletter and key."""
        if urls or labels or names:
            places = {"urls": list(urls), "labels": list(labels), "link_names": list(names)}
            them = {"workspace": workspace, **places}
            self._storage.change("newsletter_links", sql("erase_links"), them)

    def _scrub(self, rewritten: Sequence[Erasure]) -> None:
        secrets = {erasure.name: erasure.recipient_key for erasure in self._workspaces.all()}
        for erasure in rewritten:
            marks = SubjectMatcher(
                erasure.workspace,
                self._keys(erasure),
                (erasure.address,),
                secrets[erasure.workspace],
            )
            counts = {
                **erasure.counts,
                "feed": scrub.scrub_feed(self._engine, marks),
                "segments": scrub.scrub_segments(self._engine, marks),
                "deliveries": scrub.scrub_deliveries(self._engine, marks),
                "followups": scrub.scrub_followed(self._engine, marks),
                "files": scrub.scrub_files(self._data_dir, marks),
            }
            self.erasures.change(erasure, counts=counts)
        first = not self.erasures.ended()
        for erasure in rewritten:
            self.erasures.change(erasure, address="")
        scrub.compact(self._engine, first)
        for erasure in rewritten:
            self.erasures.change(erasure, state="cleaned")


def request_erasure(
    erasures: Erasures, workspaces: Workspaces, workspace: str, recipient: str
) -> Erasure:
    """Request a person's erasure. Raises WorkspaceError."""
    secret = workspaces.get(workspace).recipient_key
    return erasures.begin(workspace, recipient_key(secret, workspace, recipient), recipient)


def _unloaded(folder: Path) -> set[str]:
    """Returns the ids of journal segments with lines that ClickHouse has not acknowledged."""
    return {path.stem for path, found in waiting_segments(folder, Path.stat) if found.st_size}


def _by_workspace(erasures: Sequence[Erasure]) -> Iterator[tuple[str, list[Erasure]]]:
    ordered = sorted(erasures, key=lambda erasure: erasure.workspace)
    for workspace, ones in groupby(ordered, key=lambda erasure: erasure.workspace):
        yield workspace, list(ones)


async def finished(erasures: Erasures, requested: Erasure, seconds: float) -> Erasure:
    """Returns the erasure once it is done, or as it is after some time."""
    end = time.monotonic() + seconds
    while requested.state != "done" and time.monotonic() < end:
        await asyncio.sleep(POLL_SECONDS)
        latest = await asyncio.to_thread(erasures.get, requested.id, requested.workspace)
        requested = latest or requested
    return requested
