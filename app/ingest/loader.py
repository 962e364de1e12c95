"""The loader: takes sealed segments to ClickHouse, one insert per table and segment.

A segment's id is the insert's deduplication token and its bytes decide the rows, so loading it
twice changes nothing; only what is about somebody erased meanwhile is loaded as nobody's. It is
deleted only after ClickHouse has acknowledged every insert; what its hits touched is noted first,
for `corrections` to settle, and the rows go into the feed.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.consent.erasure_requests import Erasures
from app.events.feed import Feed
from app.files import locked
from app.ingest.classifier import VERSION, Classified, classify, judge
from app.ingest.corrections import origin, touch
from app.ingest.networks import Networks
from app.links import identity, masking
from app.model.records import (
    BLANK,
    NO_LINK,
    NOBODY,
    Carried,
    Hit,
    Link,
    Message,
    PlacedLink,
    Record,
    decode,
    sent_at,
)
from app.model.tracking_modes import AGGREGATE, kept
from app.storage import journal_masking, journal_segments
from app.storage.clickhouse import Storage, StorageError

log = logging.getLogger(__name__)

LOCK = "loading.lock"  # shared by who loads
POLL = 0.1  # seconds between looks for sealed segments
ADOPT = 10.0  # seconds between looks for segments of killed processes
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds; doubled at each failure, with jitter
# What hits refer to goes first.
TABLES = ("newsletters", "newsletter_links", "link_places", "link_carried", "messages", "hits")

_STORED = "SELECT count() AS n FROM hits FINAL WHERE segment = {segment:UUID}"
_encode_lines = msgspec.json.Encoder().encode_lines
HOUR = 3_600_000  # milliseconds
CHUNK = 1_000  # rows encoded at once; the event loop waits meanwhile


class _Row(msgspec.Struct, omit_defaults=True, gc=False):
    """A row of hits; what the table fills in by itself is left out where it is empty."""

    workspace: str
    newsletter: int
    kind: str
    at: float  # seconds; a time's shortest digits are its milliseconds, exactly
    message: str
    recipient: int
    position: int
    method: str
    verdict: str
    rules: int
    segment: str
    line: int
    origin: int
    variant: int = 0
    address: str = ""
    user_agent: str = ""
    purpose: str = ""
    fetch_mode: str = ""
    reasons: tuple[str, ...] = ()
    client: str = ""
    os: str = ""
    device: str = ""
    asn: int = 0
    country: str = ""
    mode: int = 0
    link_key: int = 0
    family: int = 0
    detail: int = 0
    url: str = ""


class _HitLink(NamedTuple):
    link: int
    family: int
    url: str


_NONE = _HitLink(0, 0, "")


class _Carried(NamedTuple):
    """A row of link_carried; `hour` is its beginning, in seconds since 1970 UTC."""

    workspace: str
    newsletter: int
    link_key: int
    hour: int
    variant: int


class Loader:
    """Loads whatever is sealed in `folder`; several loaders may share one folder.

    `secret` is the key of pseudonyms, without which none can be made.
    """

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        networks: Networks | None = None,
        feed: Feed | None = None,
        secret: str = "",
    ) -> None:
        self.folder = folder
        self._secret = secret
        self.feed = feed
        self.storage = storage
        self.networks = networks
        self.origin = origin(folder)
        self.trouble = ""  # why the last attempt failed; empty while all is well
        self.loaded = 0  # lines that ClickHouse has acknowledged
        self.unreadable = 0  # lines that are no record; they are left out and counted
        self.ready = False  # whether the tables are there
        self._migrated_at = 0.0
        self.on_load: Callable[[float], object] = lambda seconds: None  # a segment was loaded
        self._adopted_at = time.monotonic()
        self._stopping = asyncio.Event()

    async def run(self, loads: bool = True) -> None:
        """Migrate, then load until `stop()`. ClickHouse being away is waited out, never raised.

        Without `loads` another process loads: only the tables are waited for.
        """
        pause = FIRST_RETRY
        while not self._stopping.is_set():
            try:
                if not self.ready:
                    await asyncio.to_thread(self.storage.prepare)
                    self._migrated_at = await asyncio.to_thread(self.storage.migrated_at)
                    self.ready = True
                    self.trouble = ""
                if not loads:
                    return
                loaded = await asyncio.to_thread(self.load_all)
                self.trouble = ""  # nothing may be left because another process has loaded it
                if not loaded:
                    await self._wait(POLL)
                pause = FIRST_RETRY
            except (StorageError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("loading waits for ClickHouse: %s", error)
                self.trouble = str(error)
                await self._wait(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, LAST_RETRY)

    def stop(self) -> None:
        """Let `run()` end after the segment at hand."""
        self._stopping.set()

    async def drain(self) -> None:
        """Load what is sealed once more, at shutdown; what cannot be loaded stays for later."""
        try:
            if self.ready:
                await asyncio.to_thread(self.load_all)
        except (StorageError, OSError) as error:
            log.warning("left in the journal for the next start: %s", error)

    def load_all(self) -> int:
        """Load every sealed segment, oldest first; returns how many lines. Raises StorageError."""
        if time.monotonic() - self._adopted_at > ADOPT:
            journal_segments.adopt_orphans(self.folder)
            self._adopted_at = time.monotonic()
        return sum(self._load_shared(path) for path in journal_segments.sealed(self.folder))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No segment is loaded meanwhile, here or in another process, and none is half loaded.

        Raises StorageError.
        """
        self.load_all()  # most of it while others may load too
        with locked(self.folder / LOCK):
            for path in journal_segments.sealed(self.folder):
                self.load(path)
            yield

    def _load_shared(self, path: Path) -> int:
        with locked(self.folder / LOCK, shared=True):
            return self.load(path)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def load(self, path: Path) -> int:
        """Load one segment and delete it; 0 when another loader has it. Raises StorageError."""
        with journal_segments.claim(path) as fd:
            if fd is None:
                return 0
            start = time.perf_counter()
            erasures = self.feed.erasures if self.feed else None
            if erasures:
                erasures.refresh()
            content = path.read_bytes()
            found = rows(content, path.stem, self.origin, self.networks, erasures, self._secret)
            if found.unreadable:
                log.error("segment %s: %d lines are no records", path.stem, found.unreadable)
                path.with_suffix(".bad").write_bytes(journal_masking.masked(content))
            if not self._was_migrated(path.stem, len(found.hits)):
                for table in TABLES:
                    if found.tables[table]:
                        self.storage.insert(table, found.tables[table], path.stem)
            touch(self.folder, path.stem, found.hits)
            if self.feed and found.hits:
                self.feed.append(path.stem, found.tables["hits"], found.erased)
            path.unlink()
        self.on_load(time.perf_counter() - start)
        self.trouble = ""
        self.loaded += found.records
        self.unreadable += found.unreadable
        return found.records

    def _was_migrated(self, segment_id: str, hits: int) -> bool:
        """Whether a segment from before the last migration was inserted before it as well.

        A roll-up that a migration builds from the stored hits has no memory of inserts: there the
        same segment would count twice.
        """
        if not hits or sent_at(segment_id.replace("-", "")) / 1000 > self._migrated_at:
            return False
        return int(self.storage.query(_STORED, {"segment": segment_id})[0]["n"]) == hits


class Rows(NamedTuple):
    """A segment as JSON lines per table; `unreadable` counts lines that are no record.

    `erased` are those of `hits` whose rows name nobody, because their recipients were erased.
    """

    tables: dict[str, bytes]
    hits: list[Hit]
    records: int
    unreadable: int
    erased: list[Hit]


def rows(
    segment: bytes,
    segment_id: str,
    origin: int,
    networks: Networks | None = None,
    erasures: Erasures | None = None,
    secret: str = "",
) -> Rows:
    """What a segment's bytes say, each hit classified beside the others of its message."""
    tables: dict[str, list[object]] = {table: [] for table in TABLES}
    hits: list[Hit] = []
    numbers: list[int] = []  # the hits' lines
    gone: list[Hit] = []
    carried: Counter[_Carried] = Counter()
    placed: set[tuple[str, int, int, str]] = set()  # links of tokens of version 1
    unreadable = records = 0

    def erased(one: Hit | Message) -> bool:
        return bool(erasures and erasures.covers(one.workspace, one.recipient, one.message))

    for number, line in enumerate(segment.splitlines()):
        try:
            record = decode(line)
        except msgspec.DecodeError:
            unreadable += 1
            continue
        if isinstance(record, Hit):
            hits.append(kept(record, secret))
            numbers.append(number)
            if record.kind == "click" and not record.link:
                placed.add((record.workspace, record.newsletter, record.position, record.url))
            if erased(record):
                gone.append(hits[-1])
        else:
            if isinstance(record, Message) and erased(record):
                record = msgspec.structs.replace(
                    record, recipient=NOBODY, address="", metadata={}, rfc_message_id=""
                )
            if isinstance(record, Carried):
                for key in record.links:
                    carried[_carried(record, key)] += record.messages
                records += 1
                continue
            for table, row in _named(record):
                tables[table].append(row)
            records += 1
    verdicts = _verdicts(hits, networks)
    nobodys = set(map(id, gone))
    for hit, number, found in zip(hits, numbers, verdicts, strict=True):
        made = _row(hit, found, segment_id, number, origin)
        if id(hit) in nobodys:
            made = msgspec.structs.replace(made, **BLANK)
        tables["hits"].append(made)
    for workspace, newsletter, position, url in sorted(placed):
        for table, row in _named(PlacedLink(0, workspace, newsletter, position, url)):
            tables[table].append(row)
    tables["link_carried"] = [{**row._asdict(), "carried": n} for row, n in carried.items()]
    lines = {name: _lines(found) for name, found in tables.items()}
    return Rows(lines, hits, records + len(hits), unreadable, gone)


def _lines(found: list[object]) -> bytes:
    return b"".join(
        _encode_lines(found[start : start + CHUNK]) for start in range(0, len(found), CHUNK)
    )


def _verdicts(hits: list[Hit], networks: Networks | None) -> list[Classified]:
    """In the order of `hits`."""
    found = [classify(hit, networks) for hit in hits]
    together: dict[str, list[int]] = {}
    for n, hit in enumerate(hits):
        if hit.mode != AGGREGATE:  # those share an id although they are of many messages
            together.setdefault(hit.message, []).append(n)
    for positions in together.values():
        if len(positions) > 1:
            judged = judge([hits[n] for n in positions], networks)
            for n, classified in zip(positions, judged, strict=True):
                found[n] = classified
    return found


def _row(hit: Hit, found: Classified, segment_id: str, number: int, origin: int) -> _Row:
    agent, network, link = found.agent, found.network, _link(hit)
    if hit.mode == AGGREGATE:  # of whatever the visitor told, only the verdict stays
        return _Row(
            hit.workspace, hit.newsletter, hit.kind, hit.at / 1000, hit.message, hit.recipient,
            hit.position, hit.method, found.verdict, VERSION, segment_id, number, origin,
            mode=hit.mode, link_key=link.family, family=link.family,
        )  # fmt: skip
    return _Row(
        hit.workspace, hit.newsletter, hit.kind, hit.at / 1000, hit.message, hit.recipient,
        hit.position, hit.method, found.verdict, VERSION, segment_id, number, origin, hit.variant,
        hit.address, hit.user_agent, hit.purpose, hit.fetch_mode, found.reasons, agent.client,
        agent.os, agent.device, network.asn, network.country, hit.mode, link.link, link.family,
        hit.detail, link.url,
    )  # fmt: skip


def _link(hit: Hit) -> _HitLink:
    """What the link was that a hit followed, with secrets masked."""
    if hit.position == NO_LINK:
        return _NONE
    whole = bool(hit.flags & identity.FULL_URL)
    found = identity.identify(hit.url, full=whole)
    url = hit.url if whole else identity.masked(hit.url)
    if not hit.link:  # a token of version 1
        return _HitLink(found.link, found.family, url)
    own = hit.flags & identity.WHOLE
    return _HitLink(hit.link, hit.link if own else found.family, url)


def _named(record: Record) -> Iterator[tuple[str, object]]:
    """The rows of a record by table."""
    at = record.at / 1000
    if isinstance(record, PlacedLink):
        record = _keyed(record)
    if isinstance(record, Link):
        yield from _link_rows(record, at)
        return
    row = {**msgspec.structs.asdict(record), "at": at}
    if isinstance(record, Message):
        yield "messages", row
        return
    for field in ("name", "subject", "tags"):
        if (value := row.pop(field)) is not None:
            row[f"{field}_stated"] = at, value
    yield "newsletters", row


def _keyed(record: PlacedLink) -> Link:
    """A link of version 0.1 by what it leads to."""
    found = identity.identify_shown(record.url)
    label = masking.mask_text(record.label)
    detail = identity.detail(label, record.tags) if label or record.tags else 0
    return Link(
        record.at, record.workspace, record.newsletter, found.link, found.family, record.link,
        found.url, found.template, "", detail, label, record.tags,
    )  # fmt: skip


def _link_rows(record: Link, at: float) -> Iterator[tuple[str, object]]:
    """The link and its family, each with its place."""
    shown = [(record.link, record.url, record.is_family)]
    if record.family != record.link:
        shown.append((record.family, record.template, True))
    for link, url, is_family in shown:
        place = {"workspace": record.workspace, "newsletter": record.newsletter, "link_key": link}
        yield "newsletter_links", {
            **place, "family": record.family, "is_family": int(is_family), "url": url,
            "name": record.name, "detail": record.detail, "label": record.label,
            "tags": record.tags, "at": at,
        }  # fmt: skip
        yield "link_places", {**place, "position": record.position, "at": at}


def _carried(record: Carried, link: int) -> _Carried:
    hour = record.at // HOUR * HOUR // 1000
    return _Carried(record.workspace, record.newsletter, link, hour, record.variant)
