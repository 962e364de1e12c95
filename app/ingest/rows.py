"""Converts a journal segment into rows of ClickHouse's tables."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from app.consent.erasure_requests import Erasures
from app.ingest.classifier import VERSION, Classification, classify
from app.ingest.fetch_metadata import no_https
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
    Newsletter,
    Outcome,
    PlacedLink,
    RecordError,
    decode,
)
from app.model.tracking_modes import AGGREGATE, reduce_to_mode
from app.outcomes.rows import OutcomeRow, outcome_row

_encode_lines = msgspec.json.Encoder().encode_lines

# In the order of inserts: what hits refer to comes first.
TABLES = ("newsletters", "newsletter_links", "link_places", "link_carried", "messages", "hits")
HOUR_MS = 3_600_000
CHUNK_ROWS = 1_000  # encoded at once, while the event loop waits


class _Row(msgspec.Struct, omit_defaults=True, gc=False):
    """A row of `hits`; values that are the column's default are left out."""

    workspace: str
    newsletter: int
    kind: str
    at: float  # seconds; its shortest decimal form gives the milliseconds exactly
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
    """A row of link_carried; `hour` is the hour's beginning, in seconds since 1970 UTC."""

    workspace: str
    newsletter: int
    link_key: int
    hour: int
    variant: int


class Rows(NamedTuple):
    """A journal segment as JSON lines per table; `unreadable` are lines that are not records.

    `erased` are those of `hits` whose rows have no recipient, because the person was erased.
    `outcomes` are rows whose messages are still to be found.
    """

    tables: dict[str, bytes]
    hits: list[Hit]
    records: int
    unreadable: list[bytes]
    erased: list[Hit]
    outcomes: list[OutcomeRow]


def rows(
    segment: bytes,
    segment_id: str,
    origin: int,
    networks: Networks | None = None,
    erasures: Erasures | None = None,
    secret: str = "",
    https: Callable[[str], bool] = no_https,
) -> Rows:
    """Returns the rows of a journal segment; all hits of a message are classified together.

    `https` says whether a workspace's links are https.
    """
    tables: dict[str, list[object]] = {table: [] for table in TABLES}
    hits: list[Hit] = []
    numbers: list[int] = []  # line numbers of `hits`
    erased_hits: list[Hit] = []
    carried: Counter[_Carried] = Counter()
    placed: set[tuple[str, int, int, str]] = set()  # links of version 1 tokens
    unreadable: list[bytes] = []
    records = 0
    outcomes: list[OutcomeRow] = []

    def erased(record: Hit | Message) -> bool:
        return bool(
            erasures and erasures.covers(record.workspace, record.recipient, record.message)
        )

    for number, line in enumerate(segment.splitlines()):
        try:
            record = decode(line)
        except RecordError:
            unreadable.append(line)
            continue
        if isinstance(record, Outcome):
            outcomes.append(outcome_row(record, segment_id, number))
        elif isinstance(record, Hit):
            hits.append(reduce_to_mode(record, secret))
            numbers.append(number)
            if record.kind == "click" and not record.link:
                placed.add((record.workspace, record.newsletter, record.position, record.url))
            if erased(record):
                erased_hits.append(hits[-1])
        else:
            if isinstance(record, Message) and erased(record):
                record = msgspec.structs.replace(
                    record, recipient=NOBODY, address="", metadata={}, rfc_message_id=""
                )
            if isinstance(record, Carried):
                for key in record.links:
                    carried[_carried_row(record, key)] += record.messages
                records += 1
                continue
            for table, row in _record_rows(record):
                tables[table].append(row)
            records += 1
    verdicts = _verdicts(hits, networks, https)
    erased_ids = set(map(id, erased_hits))
    for hit, number, classified in zip(hits, numbers, verdicts, strict=True):
        hit_row = _row(hit, classified, segment_id, number, origin)
        if id(hit) in erased_ids:
            hit_row = msgspec.structs.replace(hit_row, **BLANK)
        tables["hits"].append(hit_row)
    for workspace, newsletter, position, url in sorted(placed):
        for table, row in _record_rows(PlacedLink(0, workspace, newsletter, position, url)):
            tables[table].append(row)
    tables["link_carried"] = [{**row._asdict(), "carried": n} for row, n in carried.items()]
    lines = {name: _lines(table_rows) for name, table_rows in tables.items()}
    records += len(hits) + len(outcomes)
    return Rows(lines, hits, records, unreadable, erased_hits, outcomes)


def _lines(table_rows: list[object]) -> bytes:
    return b"".join(
        _encode_lines(table_rows[start : start + CHUNK_ROWS])
        for start in range(0, len(table_rows), CHUNK_ROWS)
    )


def _verdicts(
    hits: list[Hit], networks: Networks | None, https: Callable[[str], bool]
) -> list[Classification]:
    """Classify hits, those of one message together; returns the verdicts in the same order.

    Corrections know how many links a message carried; until then the number is unknown.
    """
    secure = {workspace for workspace in {hit.workspace for hit in hits} if https(workspace)}
    verdicts = [classify(hit, networks, hit.workspace in secure) for hit in hits]
    by_message: dict[str, list[int]] = {}
    for n, hit in enumerate(hits):
        if hit.mode != AGGREGATE:  # those of many messages share one id
            by_message.setdefault(hit.message, []).append(n)
    for positions in by_message.values():
        if len(positions) > 1:
            classified = classify_message(
                [hits[n] for n in positions], networks, hits[positions[0]].workspace in secure
            )
            for n, verdict in zip(positions, classified, strict=True):
                verdicts[n] = verdict
    return verdicts


def _row(hit: Hit, classified: Classification, segment_id: str, number: int, origin: int) -> _Row:
    agent, network, link = classified.agent, classified.network, _identify_link(hit)
    if hit.mode == AGGREGATE:  # of the visitor's data only the verdict is kept
        return _Row(
            workspace=hit.workspace,
            newsletter=hit.newsletter,
            kind=hit.kind,
            at=hit.at / 1000,
            message=hit.message,
            recipient=hit.recipient,
            position=hit.position,
            method=hit.method,
            verdict=classified.verdict,
            rules=VERSION,
            segment=segment_id,
            line=number,
            origin=origin,
            mode=hit.mode,
            link_key=link.family,
            family=link.family,
        )
    # By position: keywords take 3 us more per row. tests/ingest/test_rows.py checks the order.
    return _Row(
        hit.workspace,
        hit.newsletter,
        hit.kind,
        hit.at / 1000,
        hit.message,
        hit.recipient,
        hit.position,
        hit.method,
        classified.verdict,
        VERSION,
        segment_id,
        number,
        origin,
        hit.variant,
        hit.address,
        hit.user_agent,
        hit.purpose,
        hit.fetch_mode,
        classified.reasons,
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


def _identify_link(hit: Hit) -> _HitLink:
    """Returns the link that a hit followed, with secrets masked unless FULL_URL is set."""
    if hit.position == NO_LINK:
        return _NONE
    full = bool(hit.flags & identity.FULL_URL)
    link = identity.identify(hit.url, full=full)
    url = hit.url if full else identity.masked(hit.url)
    if not hit.link:  # a version 1 token
        return _HitLink(link.link, link.family, url)
    is_family = hit.flags & identity.WHOLE
    return _HitLink(hit.link, hit.link if is_family else link.family, url)


def _record_rows(record: Message | Newsletter | Link | PlacedLink) -> Iterator[tuple[str, object]]:
    """Yields the rows of a record, each with its table."""
    at = record.at / 1000
    if isinstance(record, PlacedLink):
        record = _identify_placed_link(record)
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


def _identify_placed_link(record: PlacedLink) -> Link:
    """Returns a link that version 0.1 recorded by its place, with the keys of its URL."""
    identified = identity.identify_shown(record.url)
    label = masking.mask_text(record.label)
    detail = identity.detail(label, record.tags) if label or record.tags else 0
    return Link(
        at=record.at,
        workspace=record.workspace,
        newsletter=record.newsletter,
        link=identified.link,
        family=identified.family,
        position=record.link,
        url=identified.url,
        template=identified.template,
        name="",
        detail=detail,
        label=label,
        tags=record.tags,
    )


def _link_rows(record: Link, at: float) -> Iterator[tuple[str, object]]:
    """Yields the rows of a link and of its family, each with its place."""
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


def _carried_row(record: Carried, link: int) -> _Carried:
    hour = record.at // HOUR_MS * HOUR_MS // 1000
    return _Carried(record.workspace, record.newsletter, link, hour, record.variant)
