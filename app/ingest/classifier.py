"""Verdicts: is a hit a person's or a machine's.

Two lists of small rules. RULES look at one hit; what they say is known as soon as it is loaded.
TOGETHER look at all hits of one message in order of time: what a burst gives away, its first hit
alone could not. The first rule of a list that fires gives the verdict, the names of all that fire
are the reasons. Raise VERSION with any change; `mailwake reclassify` then recomputes what is
stored. docs/counting.md explains each rule by name and gives its source.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from app.ingest.networks import NOWHERE, Network, Networks
from app.ingest.user_agents import Agent, agent, bare
from app.model.records import Hit, sent_at
from app.model.verdicts import (
    HUMAN,
    MACHINE,
    Verdict,
)

VERSION = 2


class Classified(NamedTuple):
    """A verdict, the names of the rules that fired (the first decided), agent and network."""

    verdict: Verdict
    reasons: tuple[str, ...]
    agent: Agent
    network: Network = NOWHERE


class Signals(NamedTuple):
    """What one hit tells about whoever made it. `hasty`: within a minute of being sent."""

    kind: str
    method: str
    purpose: str
    fetch_mode: str
    user_agent: str
    datacentre: bool
    hasty: bool


class Rule(NamedTuple):
    """`verdict` None makes it a hint: a reason that decides nothing by itself."""

    name: str
    verdict: Verdict | None
    applies: Callable[[Signals, Agent], bool]


# Opens that Gmail fetches before it shows a mail come with this end (SparkPost, January 2022).
_GMAIL_PREFETCH = "Edge/12.246 Mozilla/5.0"
_HASTE = 60_000  # milliseconds after sending


def _office(hit: Signals) -> bool:
    lowered = hit.user_agent.lower()
    return "ms-office" in lowered or "microsoft office" in lowered or "msoffice" in lowered


RULES: tuple[Rule, ...] = (
    # Office asks a link's server itself before it hands the link to the browser, whose own request
    # is the person's (Microsoft, "Office Existence Discovery Protocol").
    Rule("office_discovery", "prefetch", lambda hit, _: hit.kind == "click" and _office(hit)),
    # Sec-Purpose (Fetch standard), Purpose and X-Moz: the browser looks ahead.
    Rule("prefetch_header", "prefetch", lambda hit, _: "prefetch" in hit.purpose.lower()
         or "preview" in hit.purpose.lower()),
    # HEAD (RFC 9110, 9.3.2) asks about a page or an image; people's clients show it.
    Rule("head_request", "scanner", lambda hit, _: hit.method == "HEAD"),
    Rule("link_scanner", "scanner", lambda _, agent: agent.program == "scanner"),
    Rule("link_preview", "bot", lambda _, agent: agent.program == "preview"),
    Rule("http_library", "bot", lambda _, agent: agent.program == "library"),
    Rule("headless_browser", "bot", lambda _, agent: agent.program == "headless"),
    Rule("known_crawler", "bot", lambda _, agent: agent.program == "crawler"),
    # Mail Privacy Protection loads every image from Apple's relays with this agent, read or not.
    Rule("apple_prefetch", "prefetch", lambda hit, _: hit.kind == "open"
         and hit.user_agent.strip() == "Mozilla/5.0"),
    Rule("gmail_prefetch", "prefetch", lambda hit, _: hit.kind == "open"
         and hit.user_agent.endswith(_GMAIL_PREFETCH)),
    # Browsers follow a link with mode navigate (Fetch standard); scripts fetch with the others.
    Rule("script_fetch", "bot", lambda hit, _: hit.kind == "click"
         and hit.fetch_mode in ("cors", "no-cors", "same-origin", "websocket")),
    # Every browser names itself when it follows a link.
    Rule("no_browser", "bot", lambda hit, _: hit.kind == "click" and bare(hit.user_agent)),
    # A rented server that follows a link as the mail comes in, without a browser's fetch metadata:
    # each alone proves little, together they are a gateway's check.
    Rule("delivery_scan", "scanner", lambda hit, _: hit.kind == "click" and hit.datacentre
         and hit.hasty and not hit.fetch_mode),
    # The image proxies of Gmail and Yahoo fetch when the mail is read.
    Rule("google_image_proxy", "privacy_proxy", lambda hit, _:
         "GoogleImageProxy" in hit.user_agent),
    Rule("yahoo_mail_proxy", "privacy_proxy", lambda hit, _: "YahooMailProxy" in hit.user_agent),
    Rule("no_agent", "unknown", lambda hit, _: hit.kind == "open" and bare(hit.user_agent)),
    Rule("datacentre", None, lambda hit, _: hit.datacentre),
    Rule("soon_after_sending", None, lambda hit, _: hit.hasty),
)  # fmt: skip


def classify(hit: Hit, networks: Networks | None = None) -> Classified:
    """The verdict on one hit by itself."""
    network = networks.of(hit.address) if networks else NOWHERE
    hasty = hit.kind == "click" and hit.at - sent_at(hit.message) < _HASTE
    found = _classify(
        hit.kind, hit.method, hit.purpose, hit.fetch_mode, hit.user_agent, network.datacentre, hasty
    )
    return found if network is NOWHERE else found._replace(network=network)


@lru_cache(maxsize=65_536)
def _classify(*told: Any) -> Classified:
    signals = Signals(*told)
    parts = agent(signals.user_agent)
    if signals.kind == "unsubscribe":  # mailbox providers send it for the person (RFC 8058)
        return Classified("human", ("one_click",), parts)
    fired = [rule for rule in RULES if rule.applies(signals, parts)]
    verdicts: list[Verdict] = [rule.verdict for rule in fired if rule.verdict]
    return Classified(
        verdicts[0] if verdicts else "human", tuple(rule.name for rule in fired), parts
    )


# --- All hits of one message ---------------------------------------------------------------------

Judged = list[tuple[Hit, Classified]]  # in order of time
_BURST_LINKS, _BURST = 3, 1_000  # distinct links, milliseconds
_SWEEP_LINKS, _SWEEP = 6, 8_000
_TAIL = 30_000  # around a burst or sweep
_FETCHED = 10_000  # after a scanner
CONTEXT_MS = 60_000  # how far around a hit TOGETHER must see; they look less far


def _crowd(judged: Judged, links: int, span: int) -> set[int]:
    """Positions of clicks on at least `links` distinct links within `span` milliseconds."""
    clicks = [n for n, (hit, found) in enumerate(judged) if _follows(hit, found)]
    crowd: set[int] = set()
    start = marked = 0
    window: Counter[int] = Counter()  # clicks by link
    for end, n in enumerate(clicks):
        window[judged[n][0].position] += 1
        while judged[n][0].at - judged[clicks[start]][0].at > span:
            link = judged[clicks[start]][0].position
            window[link] -= 1
            if not window[link]:
                del window[link]
            start += 1
        if len(window) >= links:
            crowd.update(clicks[max(start, marked) : end + 1])
            marked = end + 1
    return crowd


def _follows(hit: Hit, found: Classified) -> bool:
    """A click; one of Office or of a browser that looks ahead belongs to a person's."""
    return hit.kind == "click" and found.verdict != "prefetch"


def burst(judged: Judged) -> set[int]:
    """Three links of one message within a second: faster than a hand, by whatever address."""
    return _crowd(judged, _BURST_LINKS, _BURST)


def sweep(judged: Judged) -> set[int]:
    """Six links within eight seconds: scanners that wait for each page take about one a second."""
    return _crowd(judged, _SWEEP_LINKS, _SWEEP)


def companion(judged: Judged) -> set[int]:
    """Whoever sent a burst or a sweep also sent this, half a minute before or after it."""
    crowd = burst(judged) | sweep(judged)
    times: dict[tuple[str, str], list[int]] = {}
    for n in sorted(crowd):
        times.setdefault(_sender(judged[n][0]), []).append(judged[n][0].at)
    found: set[int] = set()
    for n, (hit, _) in enumerate(judged):
        theirs = times.get(_sender(hit))
        if n not in crowd and theirs:
            after = bisect(theirs, hit.at)
            near = theirs[max(0, after - 1) : after + 1]
            if any(abs(hit.at - at) <= _TAIL for at in near):
                found.add(n)
    return found


def fetched_before(judged: Judged) -> set[int]:
    """A click on a mail that a scanner of the same network has fetched in the last ten seconds.

    From elsewhere it is a person's, whose click the scanner was asked about. So it is with a
    browser's fetch metadata, unless the scanner gave the same agent.
    """
    found: set[int] = set()
    scanned: dict[tuple[str, str], int] = {}  # when last, by network and agent ("" for any)
    for n, (hit, classified) in enumerate(judged):
        network = _neighbourhood(hit.address)
        if not network:
            continue
        if classified.verdict == "scanner":
            scanned[network, ""] = scanned[network, hit.user_agent] = hit.at
        elif hit.kind == "click" and classified.verdict in HUMAN:
            last = scanned.get((network, hit.user_agent if hit.fetch_mode else ""))
            if last is not None and hit.at - last <= _FETCHED:
                found.add(n)
    return found


TOGETHER: tuple[Callable[[Judged], set[int]], ...] = (burst, sweep, companion, fetched_before)


def judge(hits: Iterable[Hit], networks: Networks | None = None) -> list[Classified]:
    """The verdicts on all hits of one message, in the order given, each seen beside the others."""
    alone = [(hit, classify(hit, networks)) for hit in hits]
    order = sorted(range(len(alone)), key=lambda n: alone[n][0].at)
    judged = [alone[n] for n in order]
    answer = [found for _, found in alone]
    if not _may_matter(judged):
        return answer
    fired: dict[int, list[str]] = {}
    for rule in TOGETHER:
        for n in rule(judged):
            fired.setdefault(n, []).append(rule.__name__)
    for n, names in fired.items():
        found = judged[n][1]
        verdict = found.verdict if found.verdict in MACHINE else "scanner"
        if judged[n][0].kind != "unsubscribe" and found.verdict != "privacy_proxy":
            answer[order[n]] = found._replace(
                verdict=verdict, reasons=tuple(_unique(names, found.reasons))
            )
    return answer


def _may_matter(judged: Judged) -> bool:
    """Cheap: most messages have a hit or two, by one person."""
    links = {hit.position for hit, found in judged if _follows(hit, found)}
    if len(links) >= _BURST_LINKS:
        return True
    return bool(links) and any(found.verdict == "scanner" for _, found in judged)


def _unique(*groups: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _sender(hit: Hit) -> tuple[str, str]:
    return hit.address, hit.user_agent


def _neighbourhood(address: str) -> str:
    """The /24 (IPv4) or /48 (IPv6) of an address; empty for none."""
    separator = "." if "." in address else ":"
    return separator.join(address.split(separator)[:3])
