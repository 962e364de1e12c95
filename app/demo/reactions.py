"""Simulates the reactions to one message: machines scan it, people may open it and follow links."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from app.demo import agents
from app.demo.audience import DATACENTRES, HOMES, Reader
from app.demo.mailings import Mailing

# Seconds; a minute here is about an hour in reality.
OPEN_MEDIAN, OPEN_SPREAD = 14.0, 1.1
CLICK_MEDIAN, CLICK_SPREAD = 4.0, 0.8
AGAIN_MEDIAN, AGAIN_SPREAD = 50.0, 0.8
LATEST = 600.0

# The weight of a link's position in the mail; its subject is weighed by the reader.
PLACES: Mapping[str, float] = {"hero": 4.0, "nav": 0.35, "footer": 0.12, "home": 0.5}
FOR_OUTLOOK = " (Outlook)"  # the end of labels of VML buttons
_DESKTOP_OUTLOOK = (agents.OUTLOOK, agents.OUTLOOK_OFFICE)

Kind = Literal["open", "click", "unsubscribe"]


@dataclass(frozen=True, slots=True)
class Act:
    """One request, `at` seconds after the sending; `link` counts the tracked links from 0."""

    at: float
    kind: Kind
    agent: str
    address: str
    link: int = -1
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


def reactions(rng: Random, mailing: Mailing, reader: Reader, links: Sequence[str]) -> list[Act]:
    """Returns all requests for a message in order of time. `links`: labels of its tracked links."""
    acts = [
        *_machines(rng, reader, len(links)),
        *_strays(rng, len(links)),
        *_person(rng, mailing, reader, links),
    ]
    return sorted((act for act in acts if act.at <= LATEST), key=lambda act: act.at)


def attraction(reader: Reader, mailing: Mailing, links: Sequence[str]) -> list[float]:
    """Returns each link's weight for the reader: subject, position, and what the client shows."""
    outlook = reader.app in _DESKTOP_OUTLOOK
    buttons = {label.removesuffix(FOR_OUTLOOK) for label in links if label.endswith(FOR_OUTLOOK)}
    weights = []
    for position, label in enumerate(links):
        weight = 1 - 0.6 * position / len(links)
        for topic in mailing.topics.get(label, ()):
            weight *= PLACES.get(topic, 1) * reader.interests.get(topic, 1)
        hidden = label in buttons if outlook else label.endswith(FOR_OUTLOOK)
        weights.append(0.0 if hidden else weight)
    return weights


def _person(rng: Random, mailing: Mailing, reader: Reader, links: Sequence[str]) -> Iterator[Act]:
    if rng.random() >= min(reader.opens * mailing.pull, 0.97):
        return
    pace = 0.4 if mailing.share else 1  # a receipt is read sooner than a newsletter
    opened = 2 + pace * rng.lognormvariate(0, OPEN_SPREAD) * OPEN_MEDIAN
    if not reader.mailbox.private:  # there the prefetched image is shown again
        yield _open(rng, reader, opened)
        if rng.random() < 0.35:
            yield _open(rng, reader, opened + _later(rng))
    if rng.random() < reader.clicks * mailing.pull:
        yield from _clicks(rng, mailing, reader, links, opened)
    if rng.random() < 0.03:
        yield from _forward(rng, links, opened + _later(rng))
    if not mailing.share and rng.random() < 0.012:
        at = opened + rng.uniform(2, 8)
        yield Act(at, "unsubscribe", reader.browser, reader.home, method="POST")


def _open(rng: Random, reader: Reader, at: float) -> Act:
    address = _datacentre(rng, 10, 49) if reader.mailbox.proxied else reader.home
    return Act(at, "open", reader.app, address, headers=_fetch(reader.app, "no-cors", "image"))


def _clicks(
    rng: Random, mailing: Mailing, reader: Reader, links: Sequence[str], at: float
) -> Iterator[Act]:
    """Yields one click, sometimes more; people seldom follow the same link twice."""
    weights = attraction(reader, mailing, links)
    while any(weights):
        at += rng.lognormvariate(0, CLICK_SPREAD) * CLICK_MEDIAN
        (link,) = rng.choices(range(len(links)), weights)
        browser = reader.browser if rng.random() < 0.85 else reader.second_browser
        headers = _fetch(browser, "navigate", "document")
        if headers and rng.random() < 0.03:  # the browser prefetches while the finger hovers
            ahead = {**headers, "sec-purpose": "prefetch;prerender"}
            yield Act(max(0, at - 0.4), "click", browser, reader.home, link, headers=ahead)
        yield Act(at, "click", browser, reader.home, link, headers=headers)
        if rng.random() < 0.06:
            again = at + rng.uniform(1, 20)
            yield Act(again, "click", browser, reader.home, link, headers=headers)
        weights[link] = 0
        if rng.random() >= 0.3:
            return


def _forward(rng: Random, links: Sequence[str], at: float) -> Iterator[Act]:
    """Yields what a friend does who gets the mail, or a chat that previews one of its links."""
    home = f"{rng.choice(HOMES)}.{rng.randint(1, 254)}"
    browser = rng.choice(agents.BROWSERS)
    if rng.random() < 0.6 or not links:
        yield Act(at, "open", browser, home, headers=_fetch(browser, "no-cors", "image"))
    else:
        link = rng.randrange(len(links))
        preview = rng.choice(agents.PREVIEWS)
        yield Act(at, "click", preview, _datacentre(rng, 200, 219), link)
        headers = _fetch(browser, "navigate", "document")
        yield Act(at + rng.uniform(3, 40), "click", browser, home, link, headers=headers)


def _machines(rng: Random, reader: Reader, links: int) -> Iterator[Act]:
    """Yields the requests of machines between the mailer and the person."""
    if reader.mailbox.private and rng.random() < 0.94:
        at = rng.uniform(1, 20)
        yield Act(at, "open", agents.APPLE_PRIVACY, _datacentre(rng, 60, 119))
    if not reader.scanner:
        return
    at, address = rng.uniform(0.3, 2), _datacentre(rng, 130, 159)
    agent = {
        "safe links": agents.SAFE_LINKS,
        "barracuda": agents.BARRACUDA,
        "mimecast": agents.MIMECAST,
        "bing": agents.BING_PREVIEW,
    }[reader.scanner]
    if reader.scanner != "bing":
        yield Act(at, "open", agent, address)
    method: Literal["GET", "HEAD"] = "HEAD" if rng.random() < 0.2 else "GET"
    for link in range(links):  # every link within a second
        yield Act(at + 0.8 * link / links, "click", agent, address, link, method)


def _strays(rng: Random, links: int) -> Iterator[Act]:
    """Yields crawlers that find the mail in a web archive, and scripts that probe."""
    drawn, at = rng.random(), rng.uniform(1, 90)
    if drawn < 0.012:
        agent, address = rng.choice(agents.CRAWLERS), _datacentre(rng, 220, 239)
        for step in range(min(links, rng.randint(1, 3))):
            link = rng.randrange(links)
            yield Act(at + 2 * step, "click", agent, address, link)
    elif drawn < 0.022:
        agent, address = rng.choice(agents.LIBRARIES), _datacentre(rng, 240, 254)
        yield Act(at, "open", agent, address, method=rng.choice(("GET", "HEAD")))


def _later(rng: Random) -> float:
    return 5 + rng.lognormvariate(0, AGAIN_SPREAD) * AGAIN_MEDIAN


def _datacentre(rng: Random, low: int, high: int) -> str:
    return f"{DATACENTRES}.{rng.randint(low, high)}"


def _fetch(agent: str, mode: str, destination: str) -> Mapping[str, str]:
    if agent not in agents.FETCH_METADATA:
        return {}
    return {"sec-fetch-mode": mode, "sec-fetch-dest": destination, "sec-fetch-site": "cross-site"}
