"""A journal segment as rows of ClickHouse's tables."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from app.consent.erasure_requests import Erasures
from app.ingest.classifier import VERSION, Classification, classify
from app.ingest.message_rules import classify_message
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
)
from app.model.tracking_modes import AGGREGATE, reduce_to_mode

_encode_lines = msgspec.json.Encoder().encode_lines

# What hits refer to goes first.
TABLES = ("newsletters", "newsletter_links", "link_places", "link_carried", "messages", "hits")
HOUR_MS = 3_600_000
CHUNK_ROWS = 1_000  # rows encoded at once; the event loop waits meanwhile


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
            hits.append(reduce_to_mode(record, secret))
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
        _encode_lines(found[start : start + CHUNK_ROWS])
        for start in range(0, len(found), CHUNK_ROWS)
    )


def _verdicts(hits: list[Hit], networks: Networks | None) -> list[Classification]:
    """In the order of `hits`."""
    found = [classify(hit, networks) for hit in hits]
    together: dict[str, list[int]] = {}
    for n, hit in enumerate(hits):
        if hit.mode != AGGREGATE:  # those share an id although they are of many messages
            together.setdefault(hit.message, []).append(n)
    for positions in together.values():
        if len(positions) > 1:
            judged = classify_message([hits[n] for n in positions], networks)
            for n, classified in zip(positions, judged, strict=True):
                found[n] = classified
    return found


def _row(hit: Hit, found: Classification, segment_id: str, number: int, origin: int) -> _Row:
    agent, network, link = found.agent, found.network, _link(hit)
    if hit.mode == AGGREGATE:  # of whatever the visitor told, only the verdict stays
        return _Row(
            workspace=hit.workspace,
            newsletter=hit.newsletter,
            kind=hit.kind,
            at=hit.at / 1000,
            message=hit.message,
            recipient=hit.recipient,
            position=hit.position,
            method=hit.method,
            verdict=found.verdict,
            rules=VERSION,
            segment=segment_id,
            line=number,
            origin=origin,
            mode=hit.mode,
            link_key=link.family,
            family=link.family,
        )
    # By position: keywords take 3 us more a row. tests/ingest/test_rows.py holds the order.
    return _Row(
        hit.workspace,
        hit.newsletter,
        hit.kind,
        hit.at / 1000,
        hit.message,
        hit.recipient,
        hit.position,
        hit.method,
        found.verdict,
        VERSION,
        segment_id,
        number,
        origin,
        hit.variant,
        hit.address,
        hit.user_agent,
        hit.purpose,
        hit.fetch_mode,
        found.reasons,
        agent.client,
        agent.os,
        agent.device,
        network.asn,
        network.country,
        hit.mode,
        link.link,
        link.family,
        hit.detail,
        link.url,
    )


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
        at=record.at,
        workspace=record.workspace,
        newsletter=record.newsletter,
        link=found.link,
        family=found.family,
        position=record.link,
        url=found.url,
        template=found.template,
        name="",
        detail=detail,
        label=label,
        tags=record.tags,
    )


def _link_rows(record: Link, at: float) -> Iterator[tuple[str, object]]:
    """The link and its family, each with its place."""
    shown = [(record.link, record.url, record.is_family)]
    if record.family != record.link:
        shown.append((record.family, record.template, True))
    for link, url, is_family in shown:
        place = {"workspace": record.workspace, "newsletter": record.newsletter, "link_key": link}
        yield (
            "newsletter_links",
            {
                **place,
                "family": record.family,
                "is_family": int(is_family),
                "url": url,
                "name": record.name,
                "detail": record.detail,
                "label": record.label,
                "tags": record.tags,
                "at": at,
            },
        )
        yield "link_places", {**place, "position": record.position, "at": at}


def _carried(record: Carried, link: int) -> _Carried:
    hour = record.at // HOUR_MS * HOUR_MS // 1000
    return _Carried(record.workspace, record.newsletter, link, hour, record.variant)
