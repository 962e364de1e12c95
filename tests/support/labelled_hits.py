"""Scores the verdicts on the labelled hits of tests/data/replay.

A file is one pattern: its first line says what happens and where that is documented, each other
line is a hit. The first line's `https` says whether the service has TLS, and `links` how many links
each message carried. `message` is a number of the test data, `at` is seconds since the message was
sent, `label` is the right verdict, which is `human` for proxied opens too. `datacentre` replaces
what a file of networks would say.
"""

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.ingest.classifier import RULES, Classification
from app.ingest.message_rules import MESSAGE_RULES, classify_message
from app.ingest.networks import NOWHERE, Network, Networks
from app.model.records import Hit
from app.model.verdicts import HUMAN
from tests.support.paths import DATA

FOLDER = DATA / "replay"
SENT = 1_780_000_000_000  # milliseconds
DECIDING = [rule.name for rule in RULES if rule.verdict] + [rule.__name__ for rule in MESSAGE_RULES]
HINTS = [rule.name for rule in RULES if not rule.verdict]


class Datacentres(Networks):
    """What a file of networks would say of these IP addresses."""

    def __init__(self, addresses: set[str]) -> None:
        super().__init__()
        self.of = lambda address: Network(8075, "", True) if address in addresses else NOWHERE  # type: ignore[assignment]


@dataclass
class Pattern:
    name: str
    about: str
    source: str
    hits: list[tuple[Hit, str]]  # with their labels
    datacentres: set[str]
    https: bool = False
    links: int = 0  # carried by each message; 0 if unknown

    def judged(self, hints: bool) -> Iterator[tuple[Hit, str, Classification]]:
        """Yields hit, label and verdict; `hints` is with a file of networks."""
        networks = Datacentres(self.datacentres) if hints else None
        messages: dict[str, list[tuple[Hit, str]]] = defaultdict(list)
        for hit, label in self.hits:
            messages[hit.message].append((hit, label))
        for members in messages.values():
            classifications = classify_message(
                [hit for hit, _ in members], networks, self.https, self.links
            )
            for (hit, label), classified in zip(members, classifications, strict=True):
                yield hit, label, classified


def patterns() -> list[Pattern]:
    return [_pattern(path) for path in sorted(FOLDER.glob("*.ndjson"))]


def _pattern(path: Path) -> Pattern:
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Pattern(
        path.stem,
        head["pattern"],
        head["source"],
        [(_hit(line), line["label"]) for line in lines],
        {line["address"] for line in lines if line.get("datacentre")},
        head.get("https", False),
        head.get("links", 0),
    )


def _hit(line: dict[str, Any]) -> Hit:
    message = f"{SENT:012x}7000{8 << 60 | line['message']:016x}"
    assert uuid.UUID(message).version == 7
    return Hit(
        line["kind"],
        SENT + round(line["at"] * 1000),
        "default",
        1,
        message,
        line["message"],
        line.get("link", -1),
        method=line.get("method", "GET"),
        address=line["address"],
        user_agent=line.get("agent", ""),
        purpose=line.get("purpose", ""),
        fetch_mode=line.get("fetch_mode", ""),
    )


@dataclass
class Score:
    """`verdicts`: (label, verdict) to hits; people and machines are as dashboards count them."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    fired: Counter[tuple[str, bool]] = field(default_factory=Counter)  # rule, on a machine's hit
    alone_on_people: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def recall(self, human: bool) -> float:
        """Returns the share of people's (or machines') hits that are recognised as such."""
        total = right = 0
        for (label, verdict), count in self.verdicts.items():
            if (label == "human") == human:
                total += count
                right += count * ((verdict in HUMAN) == human)
        return right / total

    def precision(self, verdict: str) -> float:
        """Returns the share of hits with the verdict whose label it is."""
        labelled = {k: count for k, count in self.verdicts.items() if k[1] == verdict}
        right = sum(
            count
            for (label, _), count in labelled.items()
            if label == verdict or (label == "human" and verdict in HUMAN)
        )
        return right / sum(labelled.values()) if labelled else 1.0


def score(hints: bool) -> Score:
    """Returns the score over all patterns."""
    result = Score()
    for pattern in patterns():
        for hit, label, classification in pattern.judged(hints):
            result.verdicts[label, classification.verdict] += 1
            for rule in classification.reasons:
                result.fired[rule, label != "human"] += 1
            deciding = [rule for rule in classification.reasons if rule not in HINTS]
            if label == "human" and classification.verdict not in HUMAN:
                result.alone_on_people[deciding[0]] += len(deciding) == 1
                result.wrong.append(f"{pattern.name}: {label} got {classification.verdict} {hit}")
            elif label != "human" and classification.verdict in HUMAN:
                result.wrong.append(f"{pattern.name}: {label} got {classification.verdict} {hit}")
    return result
