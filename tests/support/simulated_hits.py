"""Simulates the hits of people and scanners, to try the rules on input that nobody wrote.

The mix is a model, not a measurement: its purpose is to show what the rules do at the edges, such
as people without fetch metadata and scanners at every pace.
"""

import random
from collections import Counter
from typing import NamedTuple

from msgspec.structs import replace

from app.ingest.message_rules import classify_message
from app.model.records import Hit
from app.model.verdicts import HUMAN
from tests.support.labelled_hits import SENT

_OLD_SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 15_8 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/15.6 Mobile/15E148 Safari/604.1"
)
_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/{0}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/{0}.0.0.0 Safari/537.36 Edg/{0}.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
)
LINKS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30)  # of a mail


class Simulated(NamedTuple):
    """One message's hits: the people's, the scanner's, and how many links it carried."""

    people: list[Hit]
    scanner: list[Hit]
    links: int
    kind: str


class Outcome(NamedTuple):
    """What the rules made of simulated clicks. `by_kind`: (kind, is a person's, was right)."""

    by_kind: Counter[tuple[str, bool, bool]]

    def share(self, person: bool) -> float:
        """Returns the share of people's (or the scanners') clicks that are recognised as such."""
        right = sum(n for (_, of, ok), n in self.by_kind.items() if of == person and ok)
        return right / sum(n for (_, of, _), n in self.by_kind.items() if of == person)

    @property
    def precision(self) -> float:
        """Returns the share of clicks called a machine's that are the scanners'."""
        scanners = sum(n for (_, of, ok), n in self.by_kind.items() if not of and ok)
        people = sum(n for (_, of, ok), n in self.by_kind.items() if of and not ok)
        return scanners / (scanners + people)


def evaluate(messages: list[Simulated], https: bool = True) -> Outcome:
    """Classify simulated messages; without TLS no browser sends fetch metadata."""
    by_kind: Counter[tuple[str, bool, bool]] = Counter()
    for message in messages:
        hits = [*message.people, *message.scanner]
        if not https:
            hits = [_without_metadata(hit) for hit in hits]
        found = classify_message(hits, None, https, message.links)
        for n, classified in enumerate(found):
            person = n < len(message.people)
            by_kind[message.kind, person, (classified.verdict in HUMAN) == person] += 1
    return Outcome(by_kind)


def simulate(seed: int, people: int = 10_000, scanners: int = 2_000) -> list[Simulated]:
    """Returns messages read by people (one to five clicks each), some of them scanned before."""
    chance = random.Random(seed)
    numbers = iter(range(people + scanners))
    return [
        *(_read(chance, next(numbers)) for _ in range(people)),
        *(_scanned(chance, next(numbers)) for _ in range(scanners)),
    ]


def _read(chance: random.Random, number: int, links: int = 0) -> Simulated:
    links = links or chance.choice(LINKS)
    kind = chance.choices(
        ("reader", "tabs", "colleagues", "office", "no metadata", "hasty"), (70, 8, 6, 4, 4, 8)
    )[0]
    readers = {"colleagues": 3, "office": chance.randint(2, 6)}.get(kind, 1)
    delay = chance.uniform(8, 110) if kind == "hasty" else 20 + chance.expovariate(1 / 7200)
    office, shared = _address(chance), _browser(chance)
    hits: list[Hit] = []
    for _ in range(readers):
        agent = chance.choice((shared, _browser(chance))) if kind == "office" else _browser(chance)
        address = office if kind == "office" else _address(chance)
        metadata = "navigate"
        if kind == "no metadata":  # old Safari, or a proxy that removes headers
            agent, metadata = chance.choice(((_OLD_SAFARI, ""), (_OLD_SAFARI, ""), (agent, "")))
        at = delay + (chance.expovariate(1 / 120) if readers > 1 else 0)
        clicks = min(links, chance.choices((1, 2, 3, 4, 5), (62, 20, 10, 5, 3))[0])
        if kind == "tabs":
            clicks = min(links, 5)
        for link in chance.sample(range(links), clicks):
            hits.append(_click(number, at, link, address, agent, metadata))
            at += chance.uniform(0.15, 1) if kind == "tabs" else chance.lognormvariate(2.7, 0.9)
    return Simulated(hits, [], links, kind)


def _scanned(chance: random.Random, number: int) -> Simulated:
    links = chance.choice(LINKS)
    pace = chance.choice((0.05, 0.1, 0.4, 1, 2))
    part = chance.choices((1, 0.6, 0.3), (80, 12, 8))[0]
    networks = [_address(chance) for _ in range(chance.choice((1, 1, 3, 20)))]
    whole_browser = chance.random() < 0.1
    agents = [_browser(chance) for _ in range(1 if whole_browser else chance.choice((1, 1, 1, 3)))]
    at = chance.choice((chance.uniform(1, 60), chance.uniform(60, 1800)))
    followed = list(range(links))
    if chance.random() < 0.3:
        chance.shuffle(followed)
    metadata = "navigate" if whole_browser else ""
    hits: list[Hit] = []
    for link in followed[: max(1, round(part * links))]:
        address, agent = chance.choice(networks), chance.choice(agents)
        hits.append(_click(number, at, link, address, agent, metadata))
        at += pace * chance.uniform(0.6, 1.6)
    reader = _read(chance, number, links).people if chance.random() < 0.4 else []
    kind = "browser scan" if whole_browser else "full scan" if part == 1 else "partial scan"
    return Simulated(reader, hits, links, kind)


def _address(chance: random.Random) -> str:
    """Returns an IP address, cut to its /24 as the service stores it by default."""
    return f"{chance.randrange(1, 224)}.{chance.randrange(256)}.{chance.randrange(256)}.0"


def _browser(chance: random.Random) -> str:
    return chance.choice(_BROWSERS).format(chance.choice((128, 131, 136, 138, 140, 141, 142)))


def _without_metadata(hit: Hit) -> Hit:
    return replace(hit, fetch_mode="")


def _click(number: int, at: float, link: int, address: str, agent: str, fetch_mode: str) -> Hit:
    message = f"{SENT:012x}7000{8 << 60 | number:016x}"
    return Hit(
        "click",
        SENT + round(at * 1000),
        "default",
        1,
        message,
        number + 1,
        link,
        address=address,
        user_agent=agent,
        fetch_mode=fetch_mode,
    )
