"""Classifies all hits of a message together: bursts, sweeps and what accompanies them.

A rule's function name is stored as a reason; renaming one changes stored data.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from app.ingest.classifier import Classification, classify
from app.ingest.networks import Networks
from app.model.records import Hit
from app.model.verdicts import HUMAN, MACHINE

ClassifiedHits = list[tuple[Hit, Classification]]  # in order of time

_BURST_LINKS, _BURST_MS = 3, 1_000  # distinct links, and within which time
_SWEEP_LINKS, _SWEEP_MS = 6, 8_000
_COMPANION_MS = 30_000  # before or after a burst or sweep
_FETCHED_MS = 10_000  # after a scanner's fetch
CONTEXT_MS = 60_000  # before and after a hit; more than any of MESSAGE_RULES needs


def _crowd(classified: ClassifiedHits, links: int, span_ms: int) -> set[int]:
    """Returns the positions of clicks on at least `links` distinct links within `span_ms`."""
    clicks = [n for n, (hit, verdict) in enumerate(classified) if _follows(hit, verdict)]
    crowd: set[int] = set()
    start = marked = 0
    window: Counter[int] = Counter()  # clicks by link
    for end, n in enumerate(clicks):
        window[classified[n][0].position] += 1
        while classified[n][0].at - classified[clicks[start]][0].at > span_ms:
            link = classified[clicks[start]][0].position
            window[link] -= 1
            if not window[link]:
                del window[link]
            start += 1
        if len(window) >= links:
            crowd.update(clicks[max(start, marked) : end + 1])
            marked = end + 1
    return crowd


def _follows(hit: Hit, verdict: Classification) -> bool:
    """Returns whether a hit is a click, but not the prefetch of Office or a browser.

    A prefetch belongs to the click of a person.
    """
    return hit.kind == "click" and verdict.verdict != "prefetch"


def burst(classified: ClassifiedHits) -> set[int]:
    """Find clicks on three links of one message within a second, from any IP address.

    A person is not that fast.
    """
    return _crowd(classified, _BURST_LINKS, _BURST_MS)


def sweep(classified: ClassifiedHits) -> set[int]:
    """Find clicks on six links within eight seconds.

    Scanners that wait for each page fetch about one a second.
    """
    return _crowd(classified, _SWEEP_LINKS, _SWEEP_MS)


def companion(classified: ClassifiedHits) -> set[int]:
    """Find hits from the sender of a burst or sweep, up to half a minute before or after it.

    The sender is the same if IP address and user agent are.
    """
    crowd = burst(classified) | sweep(classified)
    times: dict[tuple[str, str], list[int]] = {}
    for n in sorted(crowd):
        times.setdefault(_sender(classified[n][0]), []).append(classified[n][0].at)
    companions: set[int] = set()
    for n, (hit, _) in enumerate(classified):
        crowd_times = times.get(_sender(hit))
        if n not in crowd and crowd_times:
            after = bisect(crowd_times, hit.at)
            near = crowd_times[max(0, after - 1) : after + 1]
            if any(abs(hit.at - at) <= _COMPANION_MS for at in near):
                companions.add(n)
    return companions


def fetched_before(classified: ClassifiedHits) -> set[int]:
    """Find clicks on a mail that a scanner of the same network fetched up to ten seconds before.

    A click from another network is a person's, and the scanner was checking it. The same holds for
    a click with a browser's fetch metadata, unless the scanner sent the same user agent.
    """
    fetched: set[int] = set()
    scanned: dict[tuple[str, str], int] = {}  # last time, by network and agent ("" for any)
    for n, (hit, verdict) in enumerate(classified):
        network = _neighbourhood(hit.address)
        if not network:
            continue
        if verdict.verdict == "scanner":
            scanned[network, ""] = scanned[network, hit.user_agent] = hit.at
        elif hit.kind == "click" and verdict.verdict in HUMAN:
            last = scanned.get((network, hit.user_agent if hit.fetch_mode else ""))
            if last is not None and hit.at - last <= _FETCHED_MS:
                fetched.add(n)
    return fetched


MESSAGE_RULES: tuple[Callable[[ClassifiedHits], set[int]], ...] = (
    burst,
    sweep,
    companion,
    fetched_before,
)


def classify_message(hits: Iterable[Hit], networks: Networks | None = None) -> list[Classification]:
    """Classify all hits of one message together; returns the verdicts in the order of `hits`."""
    unordered = [(hit, classify(hit, networks)) for hit in hits]
    order = sorted(range(len(unordered)), key=lambda n: unordered[n][0].at)
    classified = [unordered[n] for n in order]
    verdicts = [verdict for _, verdict in unordered]
    if not _may_fire(classified):
        return verdicts
    fired: dict[int, list[str]] = {}
    for rule in MESSAGE_RULES:
        for n in rule(classified):
            fired.setdefault(n, []).append(rule.__name__)
    for n, names in fired.items():
        hit, alone = classified[n]
        if hit.kind != "unsubscribe" and alone.verdict != "privacy_proxy":
            verdicts[order[n]] = alone._replace(
                verdict=alone.verdict if alone.verdict in MACHINE else "scanner",
                reasons=tuple(_unique(names, alone.reasons)),
            )
    return verdicts


def _may_fire(classified: ClassifiedHits) -> bool:
    """Returns whether any rule can fire: a cheap check, since most messages have a hit or two."""
    links = {hit.position for hit, verdict in classified if _follows(hit, verdict)}
    if len(links) >= _BURST_LINKS:
        return True
    return bool(links) and any(verdict.verdict == "scanner" for _, verdict in classified)


def _unique(*groups: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _sender(hit: Hit) -> tuple[str, str]:
    return hit.address, hit.user_agent


def _neighbourhood(address: str) -> str:
    """Returns the /24 (IPv4) or /48 (IPv6) network of an IP address; empty for an empty one."""
    separator = "." if "." in address else ":"
    return separator.join(address.split(separator)[:3])
