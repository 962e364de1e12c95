"""Rules over all hits of a message."""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from app.ingest.classifier import (
    _BURST,
    _BURST_LINKS,
    _SWEEP,
    _SWEEP_LINKS,
    Classification,
    classify,
)
from app.ingest.networks import Networks
from app.model.records import Hit
from app.model.verdicts import (
    HUMAN,
    MACHINE,
)

Judged = list[tuple[Hit, Classification]]  # in order of time


_TAIL_MS = 30_000  # around a burst or sweep


_FETCHED_MS = 10_000  # after a scanner


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


def _follows(hit: Hit, found: Classification) -> bool:
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
            if any(abs(hit.at - at) <= _TAIL_MS for at in near):
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
            if last is not None and hit.at - last <= _FETCHED_MS:
                found.add(n)
    return found


MESSAGE_RULES: tuple[Callable[[Judged], set[int]], ...] = (
    burst,
    sweep,
    companion,
    fetched_before,
)


def classify_message(hits: Iterable[Hit], networks: Networks | None = None) -> list[Classification]:
    """The verdicts on all hits of one message, in the order given, each seen beside the others."""
    alone = [(hit, classify(hit, networks)) for hit in hits]
    order = sorted(range(len(alone)), key=lambda n: alone[n][0].at)
    judged = [alone[n] for n in order]
    answer = [found for _, found in alone]
    if not _may_matter(judged):
        return answer
    fired: dict[int, list[str]] = {}
    for rule in MESSAGE_RULES:
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
