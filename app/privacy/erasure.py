"""Erases persons: what is theirs becomes nobody's, everywhere, and every figure stays.

Asked for in state.db (`erasures`); one process of a data folder does it, for all who wait at once,
in an order in which each step may be cut off and done again:

1. What waits in the journal is loaded: first of all, since from then on the loader itself leaves
   out who was erased (`Erasures.covers`).
2. While no verdict is being corrected, ClickHouse rewrites their rows in place.
3. state.db's feed, deliveries and follow-ups, and files, are rewritten; state.db is compacted.
4. Old files that ClickHouse has replaced are gone: at once in chDB, in minutes on a server.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.auth.workspaces import DEFAULT, Workspaces
from app.consent.erasure_requests import Erasure, Erasures
from app.files import locked
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.model.ids import recipient_key
from app.model.tracking_modes import all_keys_of
from app.privacy import scrub
from app.privacy.subject_match import SubjectMatcher
from app.storage.clickhouse import Storage, StorageError
from app.storage.journal_segments import OPEN, SEALED, adopt_orphans
from app.storage.sql import sql

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0  # for which an answer waits for the end
POLL_SECONDS = 0.1  # between looks whether an erasure is done
REQUEST_POLL_SECONDS = 0.2  # seconds between looks for somebody to erase
RETRY_SECONDS = 5.0  # seconds, while ClickHouse is away or keeps files that it has replaced
LOADING_SECONDS = 120.0  # seconds for which the journal is waited for at once
TOGETHER = 100  # messages whose metadata one statement rewrites
Place = tuple[int, int]
CLEARED = ("messages", "hits", "newsletter_links", "newsletters")  # tables whose rows are rewritten


class ErasureWorker:
    """`run()` until cancelled; the rest blocks."""

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
        """Erase whoever waits. ClickHouse being away is waited out."""
        ended, pause = -1, REQUEST_POLL_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                newest = await asyncio.to_thread(self.erasures.newest)
                if newest == ended or not self._loader.ready:
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
        """Bring all that is open as far as it goes now; nothing where another process is at it.

        Raises StorageError or StateError; what was done until then is done.
        """
        if not self.erasures.open():
            return
        with self._alone() as alone:
            if not alone:
                return
            waiting = [one for one in self.erasures.open() if one.state == "waiting"]
            if waiting:
                self._load()
                self._rewrite(waiting)
            rewritten = [one for one in self.erasures.open() if one.state == "rewritten"]
            if rewritten:
                self._scrub(rewritten)
            for one in self.erasures.open():
                since = one.rewritten or 0.0
                if one.state == "cleaned" and not self._storage.replaced(CLEARED, since):
                    self.erasures.change(one, state="done")

    def _load(self) -> None:
        """Every line that was written before now; later ones are loaded as nobody's."""
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
            known = sorted(set().union(*(self._keys(one) for one in ones)))
            them = {"workspace": workspace, "recipients": known}
            counts = {one.id: self._found(one) for one in ones}
            own = self._storage.query(sql("erase_own_links"), them)
            with self._corrections.paused():
                for table in ("messages", "hits"):
                    self._storage.change(table, sql(f"erase_{table}"), them)
            for one in ones:
                counts[one.id]["texts"] = self._rewrite_named(one)
            self._rewrite_links(
                workspace, urls=[(row["newsletter"], row["link_key"]) for row in own]
            )
            now = self._storage.clock()
            for one in ones:
                self.erasures.change(one, state="rewritten", rewritten=now, counts=counts[one.id])

    def _found(self, one: Erasure) -> dict[str, int]:
        """What an earlier attempt, or an earlier erasure, has taken counts no more."""
        them = {"workspace": one.workspace, "recipients": sorted(self._keys(one))}
        return {
            name: int(n) for name, n in self._storage.query(sql("erase_found"), them)[0].items()
        }

    def _keys(self, one: Erasure) -> frozenset[int]:
        """The recipient's, and the pseudonyms that hits of theirs may be kept under."""
        rows = self._storage.query(sql("erase_pseudonymous"), {"workspace": one.workspace})
        secret = self._workspaces.get(DEFAULT).recipient_key
        return all_keys_of(secret, [row["newsletter"] for row in rows], one.recipient)

    def _rewrite_named(self, one: Erasure) -> int:
        """Links, names of newsletters and other messages' metadata hold an address only where a
        mailer has put it in."""
        if not one.address:
            return 0
        here = {"workspace": one.workspace}
        found = self._storage.query(sql("erase_named"), {**here, "address": one.address})
        whats = ("url", "label", "link_name", "name", "subject")
        by: dict[str, list[Any]] = {what: [] for what in whats}
        for row in found:
            link = row["newsletter"], row["link_key"]
            by[row["what"]].append(link if link[1] else row["newsletter"])
        self._rewrite_links(one.workspace, by["url"], by["label"], by["link_name"])
        if by["name"] or by["subject"]:
            them = {**here, "names": by["name"], "subjects": by["subject"]}
            self._storage.change("newsletters", sql("erase_newsletters"), them)
        return len(found) + self._rewrite_metadata(one)

    def _rewrite_metadata(self, one: Erasure) -> int:
        """What other messages say of the person goes, the rest of their metadata stays."""
        here = {"workspace": one.workspace}
        found = self._storage.query(sql("erase_metadata_found"), {**here, "address": one.address})
        for start in range(0, len(found), TOGETHER):
            rows = found[start : start + TOGETHER]
            them = {
                "messages": [row["message"] for row in rows],
                "keys": [(row["message"], key) for row in rows for key in row["keys"]],
                "named": [row["message"] for row in rows if row["named"]],
            }
            self._storage.change("messages", sql("erase_metadata"), {**here, **them})
        return len(found)

    def _rewrite_links(
        self,
        workspace: str,
        urls: Sequence[Place],
        labels: Sequence[Place] = (),
        names: Sequence[Place] = (),
    ) -> None:
        """Take out what some links, given as newsletter and key, lead to or are called."""
        if urls or labels or names:
            places = {"urls": list(urls), "labels": list(labels), "link_names": list(names)}
            them = {"workspace": workspace, **places}
            self._storage.change("newsletter_links", sql("erase_links"), them)

    def _scrub(self, rewritten: Sequence[Erasure]) -> None:
        secrets = {one.name: one.recipient_key for one in self._workspaces.all()}
        for one in rewritten:
            marks = SubjectMatcher(
                one.workspace, self._keys(one), (one.address,), secrets[one.workspace]
            )
            counts = {
                **one.counts,
                "feed": scrub.scrub_feed(self._engine, marks),
                "deliveries": scrub.scrub_deliveries(self._engine, marks),
                "followups": scrub.scrub_followed(self._engine, marks),
                "files": scrub.scrub_files(self._data_dir, marks),
            }
            self.erasures.change(one, counts=counts)
        first = not self.erasures.ended()
        for one in rewritten:
            self.erasures.change(one, address="")
        scrub.compact(self._engine, first)
        for one in rewritten:
            self.erasures.change(one, state="cleaned")

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        with ExitStack() as held:
            try:
                held.enter_context(locked(self._data_dir / "erasing.lock", wait=False))
            except BlockingIOError:
                yield False
                return
            yield True


def request_erasure(
    erasures: Erasures, workspaces: Workspaces, workspace: str, recipient: str
) -> Erasure:
    """Ask for a person to be erased. Raises WorkspaceError."""
    secret = workspaces.get(workspace).recipient_key
    return erasures.begin(workspace, recipient_key(secret, workspace, recipient), recipient)


def _unloaded(folder: Path) -> set[str]:
    """The ids of segments with lines that ClickHouse has not acknowledged."""
    found = set()
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # loaded meanwhile
            if path.suffix in (OPEN, SEALED) and path.stat().st_size:
                found.add(path.stem)
    return found


def _by_workspace(erasures: Sequence[Erasure]) -> Iterator[tuple[str, list[Erasure]]]:
    ordered = sorted(erasures, key=lambda one: one.workspace)
    for workspace, ones in groupby(ordered, key=lambda one: one.workspace):
        yield workspace, list(ones)


async def finished(erasures: Erasures, requested: Erasure, seconds: float) -> Erasure:
    """Returns the erasure once it is done, or as it is after some time."""
    end = time.monotonic() + seconds
    while requested.state != "done" and time.monotonic() < end:
        await asyncio.sleep(POLL_SECONDS)
        latest = await asyncio.to_thread(erasures.get, requested.id, requested.workspace)
        requested = latest or requested
    return requested
