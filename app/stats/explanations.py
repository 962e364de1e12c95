"""Explains the verdicts on a message's hits in sentences, with figures from the hits themselves.

The names of rules are stored with each hit as its reasons. Figures are computed with each page or
answer: how many links a scan followed, in what time, how long after sending.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from app.model.verdicts import HUMAN
from app.stats.queries import utc
from app.storage.clickhouse import Row

NOTHING = "No bot signals."
_SCAN_GAP_MS = 120_000  # between two scans of a message

# Rules on one hit, by name: what the hit shows.
SENTENCES = {
    "office_discovery": "Office requested the link itself before it opened the browser.",
    "prefetch_header": "The browser fetched this in advance, as its Purpose header says.",
    "head_request": "A HEAD request, which returns no page: a mail scanner.",
    "assistant": "An assistant requested this for a person who asked it to.",
    "link_scanner": "The user agent names a mail gateway or link checker.",
    "link_preview": "The user agent names a chat that shows previews of links.",
    "http_library": "The user agent names an HTTP library, not a browser.",
    "headless_browser": "The user agent names a browser that a program controls.",
    "known_crawler": "The user agent names a crawler.",
    "apple_prefetch": "Apple's Mail Privacy Protection loaded the image, read or not.",
    "gmail_prefetch": "Gmail fetched this in advance, before the message was opened.",
    "script_fetch": "A script requested the link: a person's browser would navigate to it.",
    "no_browser": "The request does not name a browser.",
    "unknown_agent": "The user agent is no known browser or mail client.",
    "delivery_scan": (
        "Followed within a minute of sending from a hosting provider's network, without a browser's"
        " fetch metadata: a mail scanner."
    ),
    "google_image_proxy": "Gmail's image proxy loaded the image when the message was opened.",
    "yahoo_mail_proxy": "Yahoo's image proxy loaded the image when the message was opened.",
    "image_proxy": "The provider's image proxy loaded the image when the message was opened.",
    "no_agent": "The client does not identify itself.",
    "one_click": "The mailbox provider sent this for the person who pressed Unsubscribe.",
}
HINTS = {
    "datacentre": "Came from a hosting provider's network.",
    "soon_after_sending": "Came within a minute of sending.",
    "no_fetch_metadata": "The browser should have sent fetch metadata, but did not.",
}


class _Scan(NamedTuple):
    """Hits that one rule found together. `after_ms` is from sending to the first of them."""

    links: int
    span_ms: int
    after_ms: int
    apart_ms: int  # from the nearest end of a scan to the hit; negative: the hit came before


def _followed(scan: _Scan) -> str:
    within = f"within {_duration(scan.span_ms)}"
    return f"{within}, {_duration(scan.after_ms)} after sending" if scan.after_ms >= 0 else within


def _links(scan: _Scan) -> str:
    return "1 link of this message was" if scan.links == 1 else f"{scan.links} links were"


def _companion(scan: _Scan) -> str:
    side = "before" if scan.apart_ms < 0 else "after"
    when = "at the same time as" if not scan.apart_ms else f"{_duration(abs(scan.apart_ms))} {side}"
    return f"Came {when} a mail scanner, from the same sender."


# Rules on all hits of a message.
SCANS: dict[str, Callable[[_Scan], str]] = {
    "every_link": lambda scan: (
        f"Every link of this message was followed {_followed(scan)}: a mail scanner."
    ),
    "most_links": lambda scan: (
        f"{_links(scan)} followed {_followed(scan)}, half of this message's or more, by browsers"
        " without fetch metadata: a mail scanner."
    ),
    "burst": lambda scan: f"{_links(scan)} followed {_followed(scan)}: a mail scanner.",
    "sweep": lambda scan: f"{_links(scan)} followed {_followed(scan)}: a mail scanner.",
    "many_networks": lambda scan: (
        "Several networks requested the same link within seconds: a mail scanner."
    ),
    "companion": _companion,
    "fetched_before": lambda scan: (
        "A mail scanner of the same network had requested this message in the seconds before."
    ),
}


def explained(hits: Sequence[Row], sent_at: datetime) -> list[Row]:
    """Returns the hits of one message, in any order, each with its `explanation`."""
    sent_ms = _milliseconds(sent_at)
    by_message: dict[str, list[Row]] = {}
    for hit in sorted(hits, key=_at_ms):
        for name in hit["reasons"]:
            if name in SCANS:
                by_message.setdefault(name, []).append(hit)
    scans = {name: list(_groups(rows)) for name, rows in by_message.items()}
    return [{**hit, "explanation": _explanation(hit, scans, sent_ms)} for hit in hits]


_Groups = dict[str, list[list[Row]]]  # the hits of each scan, by the rule that found it


def _explanation(hit: Row, scans: _Groups, sent_ms: int) -> str:
    reasons = list(hit["reasons"])
    hints = [HINTS[name] for name in reasons if name in HINTS]
    rules = [name for name in reasons if name not in HINTS]
    if hit["verdict"] != "scanner":  # its own rule decided, whatever scan it was part of
        rules.sort(key=lambda name: name in SCANS)
    deciding = rules[0] if rules else ""
    if deciding in SCANS:
        return SCANS[deciding](_scan(hit, deciding, scans, sent_ms))
    if deciding:
        return SENTENCES.get(deciding) or f"{deciding.replace('_', ' ').capitalize()}."
    if hints and hit["verdict"] in HUMAN:
        return f"{' '.join(hints)} That alone does not make it a machine."
    return NOTHING


def _scan(hit: Row, name: str, scans: _Groups, sent_ms: int) -> _Scan:
    """Returns the figures of the scan in which a rule found a hit."""
    at = _at_ms(hit)
    spans = [(_at_ms(group[0]), _at_ms(group[-1]), group) for group in scans[name]]
    begin, end, group = next(span for span in spans if span[0] <= at <= span[1])
    links = {other["link_key"] or other["position"] for other in group}
    others = [
        _at_ms(edge)
        for rule, groups in scans.items()
        if rule != "companion"
        for scan in groups
        for edge in (scan[0], scan[-1])
    ]
    apart = min((at - other for other in others), key=abs, default=0)
    return _Scan(len(links), end - begin, begin - sent_ms, apart)


def _groups(hits: Sequence[Row]) -> Iterator[list[Row]]:
    """Yields the hits of each scan; `hits` are in order of time."""
    group: list[Row] = []
    for hit in hits:
        if group and _at_ms(hit) - _at_ms(group[-1]) > _SCAN_GAP_MS:
            yield group
            group = []
        group.append(hit)
    yield group


def _at_ms(hit: Row) -> int:
    return _milliseconds(hit["at"])


def _milliseconds(at: datetime) -> int:
    return round(utc(at).timestamp() * 1000)


def _duration(ms: int) -> str:
    """Returns a duration as people say it: 0.4 s, 4 s, 12 minutes, 3 hours."""
    if ms < 950:
        return f"{max(0.1, ms / 1000):.1f} s"
    if ms < 120_000:
        return f"{round(ms / 1000)} s"
    if ms < 7_200_000:
        return f"{round(ms / 60_000)} minutes"
    return f"{round(ms / 3_600_000)} hours" if ms < 172_800_000 else f"{ms // 86_400_000} days"
