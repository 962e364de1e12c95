"""Classifies all hits of a message together: sweeps, bursts and what accompanies them.

A scanner is recognised by how much of a message it follows, not by its speed alone. The verdicts
are a function of the set of the message's hits: neither the order of their arrival nor their
journal segments matter. A rule's function name is stored as a reason; renaming one changes stored
data.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.ingest.classifier import NO_METADATA, Classification, classify
from app.ingest.networks import Networks
from app.model.ids import sent_at
from app.model.records import Hit
from app.model.verdicts import HUMAN, MACHINE

_DELIVERY_MS = 150_000  # after sending: half a minute for the delivery, two for the sweep
_SKEW_MS = 30_000  # between the clocks of two hosts: a hit may seem to come before sending
_SWEEP_MS = 120_000  # of a sweep at any time
_ALL_LINKS = 2  # of a mail, at least, for "every link" to mean anything
_BROWSER_LINKS = 3  # the same if a browser's fetch metadata says that a person may have done it
_MIN_FOLLOWED_LINKS = 3  # and at least half of the mail's
_PACE_MS = 300  # a link: nobody follows every link of a mail at this pace
_FEW_LINKS, _FEW_MS = 3, 1_000  # distinct links, and within which time
_MANY_LINKS, _MANY_MS = 6, 8_000
_INHUMAN_LINKS = 8  # within _FEW_MS: no hand is that fast, with a browser or without
_NETWORKS, _NETWORKS_MS = 3, 10_000  # that fetch one link
_ECHO_MS = 15_000  # from a fetch of the same link by another network
_COMPANION_MS = 30_000  # before or after a scanner
_FETCHED_MS = 10_000  # after a scanner's fetch
CONTEXT_MS = 240_000  # before and after a hit; more than any of MESSAGE_RULES needs


@dataclass(frozen=True)
class MessageHits:
    """The classified hits of one message in order of time, and how many links it carried.

    `links` counts distinct URLs of tracked links. It is 0 if unknown, for mails of earlier versions
    and hits in mode pseudonymous: the rules then use fixed counts.
    """

    hits: Sequence[tuple[Hit, Classification]]
    links: int = 0

    @cached_property
    def clicks(self) -> list[int]:
        """Returns the positions of clicks, without prefetches and the requests of assistants.

        A prefetch of Office or a browser belongs to the click of a person, as does what an
        assistant requests for one.
        """
        return [
            n
            for n, (hit, alone) in enumerate(self.hits)
            if hit.kind == "click" and alone.verdict not in ("prefetch", "assistant")
        ]

    @cached_property
    def bare(self) -> list[int]:
        """Returns the positions of clicks without a browser's fetch metadata."""
        return [n for n in self.clicks if self.hits[n][0].fetch_mode != "navigate"]

    @cached_property
    def hiding(self) -> list[int]:
        """Returns the positions of clicks that should have fetch metadata but do not."""
        return [n for n in self.clicks if NO_METADATA in self.hits[n][1].reasons]

    def link(self, hit: Hit) -> int | str:
        """Returns what identifies a link: its URL, or its position if their number is unknown.

        Its key would not do: links that differ only by recipient may share one.
        """
        return hit.url if self.links and hit.url else hit.position

    @cached_property
    def found(self) -> dict[str, set[int]]:
        """Returns what each of SCANS finds, by its name."""
        return {rule.__name__: rule(self) for rule in SCANS}


def every_link(message: MessageHits) -> set[int]:
    """Find clicks on every link of a mail: at delivery without fetch metadata, or by one agent.

    Two links suffice without fetch metadata. An agent with a browser's is a scanner if it follows
    three or more links in the order of the mail, or faster than a person can. Browsers that should
    have sent fetch metadata and did not may come at any time: deliveries are delayed, and some mail
    is scanned again.
    """
    if message.links < _ALL_LINKS:
        return set()
    swept = set(_crowd(message, message.hiding, message.links, _SWEEP_MS))
    arrival = [n for n in message.clicks if _at_delivery(message.hits[n][0])]
    bare = [n for n in arrival if message.hits[n][0].fetch_mode != "navigate"]
    swept.update(*_passes(message, bare))
    if message.links >= _BROWSER_LINKS:
        for clicks in _by_agent(message, arrival):
            passes = list(_passes(message, clicks))
            if passes and _is_sweep(message, passes[0]):
                swept.update(*passes)
    return swept


def most_links(message: MessageHits) -> set[int]:
    """Find clicks on half of a mail's links or more, within two minutes.

    Only browsers that should have sent fetch metadata and did not are considered.
    """
    if not message.links:
        return set()
    enough = max(_MIN_FOLLOWED_LINKS, -(-message.links // 2))
    return _crowd(message, message.hiding, enough, _SWEEP_MS)


def burst(message: MessageHits) -> set[int]:
    """Find clicks on several links within a second, without a browser's fetch metadata.

    Three are enough, and a quarter of the links where their number is known, so that a person who
    opens a few of many links in tabs stays a person. With fetch metadata it takes one agent that
    follows eight, or three from several IP addresses or only partly with fetch metadata: a person
    has one browser.
    """
    few = max(_FEW_LINKS, min(_INHUMAN_LINKS, -(-message.links // 4)))
    fast = _crowd(message, message.bare, few, _FEW_MS)
    fast |= _crowd(message, message.hiding, _FEW_LINKS, _FEW_MS)
    for clicks in _by_agent(message, message.clicks):
        fast |= _crowd(message, clicks, _INHUMAN_LINKS, _FEW_MS)
        if tabs := _crowd(message, clicks, _FEW_LINKS, _FEW_MS):
            fast |= tabs & _crowd(message, clicks, 2, _FEW_MS, _source)
    return fast


def sweep(message: MessageHits) -> set[int]:
    """Find clicks on six links within eight seconds, without a browser's fetch metadata.

    Scanners that wait for each page fetch about one a second. Where the number of links is known,
    half of them must have been followed.
    """
    many = max(_MANY_LINKS, -(-message.links // 2))
    swept = _crowd(message, message.bare, many, _MANY_MS)
    return swept | _crowd(message, message.hiding, _MANY_LINKS, _MANY_MS)


def many_networks(message: MessageHits) -> set[int]:
    """Find clicks on one link from three networks within ten seconds, without fetch metadata.

    A browser that should have sent fetch metadata and did not is found if one other network
    fetched the same link within a quarter of a minute: it repeats a person's click, or another
    scanner's.
    """
    spread: set[int] = set()
    hiding = set(message.hiding)
    by_link: dict[int | str, list[int]] = {}
    for n in message.clicks:
        if _neighbourhood(message.hits[n][0].address):
            by_link.setdefault(message.link(message.hits[n][0]), []).append(n)
    for clicks in by_link.values():
        if len(clicks) < 2:
            continue
        bare = [n for n in clicks if message.hits[n][0].fetch_mode != "navigate"]
        people = [n for n in bare if message.hits[n][1].verdict in HUMAN]
        spread |= _crowd(message, people, _NETWORKS, _NETWORKS_MS, _network)
        if not hiding.isdisjoint(clicks):
            spread |= hiding & _echoed(message, clicks)
    return spread


def companion(message: MessageHits) -> set[int]:
    """Find hits from the sender of a scan, up to half a minute before or after it.

    The sender is the same if IP address and user agent are. Scanners change their IP addresses:
    without fetch metadata the same network (/24, /48 or operator) is enough, and without fetch
    metadata that should be there the same user agent.
    """
    scan = set().union(*message.found.values())
    if not scan:
        return scan
    times: dict[tuple[str, str], list[int]] = {}
    for n in sorted(scan):
        for sender in _senders(*message.hits[n]):
            times.setdefault(sender, []).append(message.hits[n][0].at)
    return {
        n
        for n, (hit, alone) in enumerate(message.hits)
        if n not in scan
        and any(
            _is_near(times.get(sender, ()), hit.at, _COMPANION_MS)
            for sender in _senders(hit, alone)
        )
    }


def fetched_before(message: MessageHits) -> set[int]:
    """Find clicks on a mail that a scanner of the same network fetched up to ten seconds before.

    A click from another network is a person's, and the scanner was checking it. The same holds for
    a click with a browser's fetch metadata, unless the scanner sent the same user agent.
    """
    fetched: set[int] = set()
    scanned: dict[tuple[str, str], int] = {}  # last time, by network and agent ("" for any)
    for n, (hit, alone) in enumerate(message.hits):
        network = _neighbourhood(hit.address)
        if not network:
            continue
        if alone.verdict == "scanner":
            scanned[network, ""] = scanned[network, hit.user_agent] = hit.at
        elif hit.kind == "click" and alone.verdict in HUMAN:
            last = scanned.get((network, hit.user_agent if hit.fetch_mode else ""))
            if last is not None and hit.at - last <= _FETCHED_MS:
                fetched.add(n)
    return fetched


MessageRule = Callable[[MessageHits], set[int]]
SCANS: tuple[MessageRule, ...] = (every_link, most_links, burst, sweep, many_networks)
AFTER_SCANS: tuple[MessageRule, ...] = (companion, fetched_before)
MESSAGE_RULES: tuple[MessageRule, ...] = (*SCANS, *AFTER_SCANS)


def classify_message(
    hits: Iterable[Hit], networks: Networks | None = None, https: bool = False, links: int = 0
) -> list[Classification]:
    """Classify all hits of one message together; returns the verdicts in the order of `hits`.

    `https` says whether its links are https, `links` how many it carried (0 if unknown).
    """
    unordered = [(hit, classify(hit, networks, https)) for hit in hits]
    verdicts = [alone for _, alone in unordered]
    if not _may_fire(unordered):
        return verdicts
    order = sorted(range(len(unordered)), key=lambda n: _place(unordered[n][0]))
    message = MessageHits([unordered[n] for n in order], links)
    fired: dict[int, list[str]] = {}
    reasons = message.found | {rule.__name__: rule(message) for rule in AFTER_SCANS}
    for name, positions in reasons.items():
        for n in positions:
            fired.setdefault(n, []).append(name)
    for n, names in fired.items():
        hit, alone = message.hits[n]
        if hit.kind != "unsubscribe" and alone.verdict != "privacy_proxy":
            verdicts[order[n]] = alone._replace(
                verdict=alone.verdict if alone.verdict in MACHINE else "scanner",
                reasons=tuple(_unique(names, alone.reasons)),
            )
    return verdicts


def _may_fire(classified: Sequence[tuple[Hit, Classification]]) -> bool:
    """Returns whether any rule can fire: a cheap check, since most messages have a hit or two."""
    clicks = sum(hit.kind == "click" for hit, _ in classified)
    return clicks > 1 or (clicks > 0 and any(alone.verdict == "scanner" for _, alone in classified))


def _place(hit: Hit) -> tuple[int | str, ...]:
    """Returns the hit's place in order of time, the same whatever order the hits arrived in."""
    return (
        hit.at,
        hit.kind,
        hit.position,
        hit.method,
        hit.address,
        hit.user_agent,
        hit.fetch_mode,
        hit.purpose,
    )


def _source(hit: Hit) -> str:
    """Returns what does not change between the clicks of one browser within a second."""
    return f"{hit.address} {hit.fetch_mode}"


def _network(hit: Hit) -> str:
    return _neighbourhood(hit.address)


def _crowd(
    message: MessageHits,
    clicks: Sequence[int],
    enough: int,
    span_ms: int,
    key: Callable[[Hit], int | str] | None = None,
) -> set[int]:
    """Returns those of `clicks` with at least `enough` distinct keys (links) within `span_ms`."""
    if len(clicks) < enough:  # of most messages
        return set()
    key = key or message.link
    crowd: set[int] = set()
    start = marked = 0
    window: Counter[int | str] = Counter()  # clicks by key
    for end, n in enumerate(clicks):
        hit = message.hits[n][0]
        window[key(hit)] += 1
        while hit.at - message.hits[clicks[start]][0].at > span_ms:
            first = key(message.hits[clicks[start]][0])
            window[first] -= 1
            if not window[first]:
                del window[first]
            start += 1
        if len(window) >= enough:
            crowd.update(clicks[max(start, marked) : end + 1])
            marked = end + 1
    return crowd


def _echoed(message: MessageHits, clicks: Sequence[int]) -> set[int]:
    """Returns those of `clicks` that have one from another network within _ECHO_MS."""
    echoed: set[int] = set()
    for order in (clicks, clicks[::-1]):
        nearest, others = ("", 0), ("", 0)  # the last click, and the last of a different network
        for n in order:
            hit = message.hits[n][0]
            here = _network(hit), hit.at
            if here[0] != nearest[0]:
                others = nearest
            if others[0] and abs(hit.at - others[1]) <= _ECHO_MS:
                echoed.add(n)
            nearest = here
    return echoed


def _by_agent(message: MessageHits, clicks: Iterable[int]) -> Iterator[list[int]]:
    """Yields those of `clicks` with the same user agent."""
    agents: dict[str, list[int]] = {}
    for n in clicks:
        agents.setdefault(message.hits[n][0].user_agent, []).append(n)
    yield from agents.values()


def _passes(message: MessageHits, clicks: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yields parts of `clicks`, one after the other, that each follow every link of the mail.

    What comes after the last of them is left out: it may be a person's.
    """
    start = 0
    links: set[int | str] = set()
    for end, n in enumerate(clicks, 1):
        links.add(message.link(message.hits[n][0]))
        if len(links) >= message.links:
            yield clicks[start:end]
            start = end
            links.clear()


def _is_sweep(message: MessageHits, clicks: Sequence[int]) -> bool:
    """Returns whether links were first followed in the order of the mail, or at a program's pace.

    Colleagues behind one IP address follow the links of a shared mail in no order.
    """
    hits = [message.hits[n][0] for n in clicks]
    first: dict[int | str, Hit] = {}
    for hit in hits:
        first.setdefault(message.link(hit), hit)
    positions = [hit.position for hit in first.values()]
    in_order = positions in (sorted(positions), sorted(positions, reverse=True))
    return in_order or hits[-1].at - hits[0].at < _PACE_MS * len(first)


def _at_delivery(hit: Hit) -> bool:
    return -_SKEW_MS <= hit.at - sent_at(hit.message) <= _DELIVERY_MS


def _senders(hit: Hit, alone: Classification) -> Iterator[tuple[str, str]]:
    """Yields the names under which the sender of a hit may be known."""
    yield hit.address, hit.user_agent
    if not hit.fetch_mode:
        if network := _neighbourhood(hit.address):
            yield f"network {network}", hit.user_agent
        if alone.network.asn:
            yield f"operator {alone.network.asn}", hit.user_agent
    if NO_METADATA in alone.reasons:
        yield "anywhere", hit.user_agent


def _is_near(times: Sequence[int], at: int, span_ms: int) -> bool:
    """Returns whether one of some sorted times is at most `span_ms` from another."""
    after = bisect(times, at)
    return any(abs(at - near) <= span_ms for near in times[max(0, after - 1) : after + 1])


def _unique(*groups: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _neighbourhood(address: str) -> str:
    """Returns the /24 (IPv4) or /48 (IPv6) network of an IP address; empty for an empty one."""
    separator = "." if "." in address else ":"
    return separator.join(address.split(separator)[:3])
